# How our own program comes to a host that does not have it yet; releases are taken by the program
# itself, in the same store. That is only root's, and what lies in it is believed for its digest, never
# for its name. Digests were checked before they were sent; none holds a character that means something
# to a shell.
set -eu
base=/var/lib/vrooli-deploy
store=$base/store
say() { printf '%s\t%s\n' "$1" "$2"; }
# Whoever asked may be gone: then it ends like any other failure.
trap '' PIPE
trap 'exit 5' HUP INT TERM
# A folder that others may pass through, but not look into. One that is there is as somebody wants it.
passage() { [ -d "$1" ] || { mkdir -p "$1" && chmod a+x "$1"; }; }
passage "$base"
mkdir -p "$store/pieces" "$store/refs"
# One at a time, where names are given or taken away. It ends with whoever holds it.
exec 9>"$store/lock"
lock() { flock -w 300 9 || { echo "another deployment does not let go of the store" >&2; exit 20; }; }
lock
in=$(mktemp -d "$store/phase-XXXXXX")
trap 'rm -rf "$in"' EXIT
exec 8>"$in/lock"
flock 8
mkdir "$in/pieces"

# Pieces that have arrived whole get their names. What is not what it is called stays behind.
adopt() {
    ls -A "$1" | grep -xE '[0-9a-f]{64}' | sed 's/.*/&  &/' >"$in/sums" || :
    (cd "$1" && sha256sum -c "$in/sums" 2>/dev/null) | sed -n 's/: OK$//p' >"$in/whole" || :
    (cd "$1" && xargs -r mv -f -t "$store/pieces" --) <"$in/whole"
}

read_input() {
    name='' digest='' stack='' size='' kept=''
    while read -r word rest; do
        case $word in
            name) name=$rest ;;
            digest) digest=$rest ;;
            stack) stack=$rest ;;
            size) size=$rest ;;
            kept_free_kib) kept=$rest ;;
            piece) break ;;
        esac
    done <"$in/input"
    refs=$store/refs/$stack
    sed -n 's/^piece \([0-9a-f]*\) .*/\1/p' "$in/input" >"$in/list"
    sort -u "$in/list" >"$in/wanted"
}

# What is wanted and is not there, by name.
missing() { ls "$store/pieces" | sort | comm -13 - "$in/wanted"; }
tell_missing() { while read -r piece; do say missing "$piece"; done <"$in/missing"; }

# Of what is sent first comes what it is, by its length where pieces follow.
take_all() { cat >"$in/input"; }
take_head() {
    read -r length
    head -c "$length" >"$in/input"
}

# Gives all of the program, put together, to a command, and looks whether it was right.
whole() {
    rm -f "$in/pipe"
    mkfifo "$in/pipe"
    sha256sum <"$in/pipe" >"$in/sum" &
    sum=$!
    (cd "$store/pieces" && xargs -r cat --) <"$in/list" | tee "$in/pipe" | "$@"
    wait "$sum"
    [ "$(cat "$in/sum")" = "$digest  -" ] || { echo "what was put together is not what it should be" >&2; exit 22; }
}
