# Ends what a program started, when the program itself has ended, however that was.
#
# $1 is the mark of the program's processes. Standard input is a pipe that only the program
# writes to; its end is the program's end. Standard output is a lock, held until all is done.
# Words: `app GROUP`, `server PID STARTED`, `gone GROUP`, `grace SECONDS`.
trap '' HUP INT TERM QUIT PIPE
apps=' '
servers=' '
grace=10
while read -r word number started; do
    case $word in
        app) apps="$apps$number " ;;
        server)
            case $servers in
                *" $number:$started "*) ;;
                *) servers="$servers$number:$started " ;;
            esac
            ;;
        gone)
            case $apps in
                *" $number "*) apps="${apps%%" $number "*} ${apps#*" $number "}" ;;
            esac
            ;;
        grace) grace=$number ;;
    esac
done

# Processes whose environment bears the mark, where the kernel shows it.
marked() {
    grep -ls -- "VROOLI_DEPLOY_RUN=$1:" /proc/[0-9]*/environ 2>/dev/null | while read -r file; do
        file=${file#/proc/}
        printf ' %s' "${file%/environ}"
    done
}

# Is the process still the one that was meant? Where the kernel does not tell, it is.
is_same() {
    [ -d /proc/self ] || return 0
    line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    started=$2
    # The name in parentheses may hold anything; what follows it are words.
    set -- ${line##*) }
    shift 19 2>/dev/null
    [ "${1-}" = "$started" ]
}

# What is left of some groups and of a mark, as words for `kill`.
left() {
    for group in $1; do
        kill -s 0 -- "-$group" 2>/dev/null && printf ' -%s' "$group"
    done
    marked "$2"
}

# Asks, waits a number of seconds, and forces.
end() {
    rounds=0
    asked=' '
    while :; do
        all=$(left "$1" "$2")
        [ -n "$all" ] || return 0
        for one in $all; do
            if [ "$rounds" -ge $(($3 * 10)) ]; then
                kill -s KILL -- "$one" 2>/dev/null
            else
                case $asked in
                    *" $one "*) ;;
                    *)
                        asked="$asked$one "
                        kill -s TERM -- "$one" 2>/dev/null
                        # A stopped process takes no notice until it goes on.
                        kill -s CONT -- "$one" 2>/dev/null
                        ;;
                esac
            fi
        done
        # What cannot be killed hangs in the kernel, or nobody buries it.
        [ "$rounds" -lt $(($3 * 10 + 50)) ] || return 0
        # Not every `sleep` knows fractions.
        sleep 0.1 2>/dev/null || { sleep 1; rounds=$((rounds + 9)); }
        rounds=$((rounds + 1))
    done
}

# Apps first: they may still want their servers.
end "$apps" "$1:app" "$grace"
same=' '
for server in $servers; do
    is_same "${server%%:*}" "${server#*:}" && same="$same${server%%:*} "
done
end "$same" "$1:server" 30
