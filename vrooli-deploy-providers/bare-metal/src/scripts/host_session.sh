# Looks as often as that is asked for, until it is asked to serve or to hold this host, which it goes on
# to do; ends when nothing is asked any more. A wish is a line, after which comes what is read for it:
# the stack's name and the name of its user, or what serve.sh and host_hold.sh read. After host.sh,
# roles.sh, and those two as the functions `serve` and `hold`.
while read -r wish; do
    case $wish in
        look)
            read -r stack
            read -r user
            # What one look sets is not seen by the next, and nothing that it runs reads what is asked.
            (survey; exit 0) </dev/null
            say looked $?
            ;;
        serve | hold)
            "$wish"
            exit
            ;;
        *) exit 64 ;;
    esac
done
