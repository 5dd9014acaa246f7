# What is missing of the program, and is there room for it? Takes away what nobody needs first. Ends
# here where all of it is there, or there is no room. After read_input.
# What a phase left that was killed: what has arrived whole is kept.
for left in "$store"/phase-*; do
    [ "$left" != "$in" ] || continue
    if flock -n "$left/lock" true 2>/dev/null || [ ! -e "$left/lock" ]; then
        [ ! -d "$left/pieces" ] || adopt "$left/pieces"
        rm -rf "$left"
    fi
done
# Nothing is believed for its name: neither a folder or a link that is called like a piece, nor a
# file that is something else. What is not right is missing, and is sent again.
find "$store/pieces" -mindepth 1 -maxdepth 1 ! -type f -exec rm -rf {} +
ls "$store/pieces" | sort | comm -12 - "$in/wanted" | sed 's/.*/&  &/' >"$in/sums"
(cd "$store/pieces" && sha256sum -c "$in/sums" 2>/dev/null) | sed -n 's/: FAILED.*//p' >"$in/bad" || :
(cd "$store/pieces" && xargs -r rm -f --) <"$in/bad"
while read -r piece; do say corrupt "$piece"; done <"$in/bad"

# From now on it is needed: nobody else takes its pieces away.
mkdir -p "$refs"
fresh=
[ -e "$refs/$name" ] || fresh=yes
{ printf 'name %s\n' "$name"; grep '^piece ' "$in/input" || :; } >"$in/ref"
mv -f "$in/ref" "$refs/$name"

# Takes away what is needed for nothing any more: pieces of the one before are what this one was sent by.
prune() {
    for old in "$refs"/*; do
        [ "$old" = "$refs/$name" ] || rm -f "$old"
    done
    find "$store/refs" -type f -exec cat {} + | sed -n 's/^piece \([0-9a-f]*\) .*/\1/p' | sort -u >"$in/used"
    ls -A "$store/pieces" | sort | comm -23 - "$in/used" >"$in/unused"
    (cd "$store/pieces" && xargs -r rm -rf --) <"$in/unused"
}
free_kib() { df -Pk "$1" | awk 'NR == 2 { print $4 }'; }
prune

# Is all of it there already, as it should be?
there() {
    [ ! -s "$in/missing" ] || return 1
    [ "$(readlink "$base/program")" = "programs/$digest" ] && [ -x "$base/programs/$digest" ] &&
        [ "$(sha256sum <"$base/programs/$digest")" = "$digest  -" ]
}
missing >"$in/missing"
if there; then
    say there yes
    exit 0
fi
# How much more there will be, in KiB: what is sent, and what is made of it.
sent=$(awk 'NR == FNR { missing[$1]; next } $1 == "piece" && ($2 in missing) && !seen[$2]++ { sum += $3 } END { printf "%d", sum / 1024 + 1 }' "$in/missing" "$in/input")
[ -s "$in/missing" ] || sent=0
needed=$((sent + size / 1024 + 5 + kept)) free=$(free_kib "$base")
[ "$free" -ge "$needed" ] || {
    # It never came here: nothing is to make way for it next time.
    [ -z "$fresh" ] || rm -f "$refs/$name"
    say needed_kib "$needed"
    say free_kib "$free"
    exit 0
}
