# What is missing of an artefact, and is there room for it? Takes away what nobody needs first. Ends
# here where all of it is there, or there is no room. After read_input.
# What a phase left that was killed: what has arrived whole is kept.
for left in "$store"/phase-*; do
    [ "$left" != "$in" ] || continue
    if flock -n "$left/lock" true 2>/dev/null || [ ! -e "$left/lock" ]; then
        [ ! -d "$left/pieces" ] || adopt "$left/pieces"
        rm -rf "$left"
    fi
done
if [ "$kind" = image ]; then
    command -v docker >/dev/null || { echo "there is no \`docker\`" >&2; exit 25; }
    root=$(docker info -f '{{.DockerRootDir}}' 2>"$in/words") || { cat "$in/words" >&2; exit 25; }
fi
[ -z "$owner" ] || id -u -- "$owner" >/dev/null 2>&1 || { echo "$owner" >&2; exit 24; }
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
{ printf 'name %s\n' "$name"; grep -E '^(piece|image) ' "$in/input" || :; } >"$in/ref"
mv -f "$in/ref" "$refs/$name"

# Takes away what is needed for nothing any more, but for so many of the newest.
{ printf '%s\n' "$name"; sed -n 's/^needed //p' "$in/input"; } >"$in/needed"
prune() {
    ls -t "$refs" | awk -v keep="$1" 'NR == FNR { needed[$1]; next } !($1 in needed) && ++count > keep' "$in/needed" - >"$in/old"
    while read -r old; do
        used=
        for marker in "$releases"/*/artefact; do
            [ -f "$marker" ] && read -r its _ <"$marker" && [ "$its" = "$old" ] || continue
            of=${marker%/artefact}
            # What runs is not taken away, whatever anybody says is needed.
            if in_use "$of"; then used=yes; else mv -T "$of" "$in/gone" && rm -rf "$in/gone"; fi
        done
        [ -z "$used" ] || continue
        its=$(sed -n 's/^image //p' "$refs/$old")
        rm -f "$refs/$old"
        # An image that another app has, too, stays; one that runs Docker keeps.
        [ -z "$its" ] || grep -rqx "image $its" "$store/refs" || docker image rm -- "$its" >/dev/null 2>&1 || :
        say pruned "$old"
    done <"$in/old"
    find "$store/refs" -type f -exec cat {} + | sed -n 's/^piece \([0-9a-f]*\) .*/\1/p' | sort -u >"$in/used"
    ls -A "$store/pieces" | sort | comm -23 - "$in/used" >"$in/unused"
    (cd "$store/pieces" && xargs -r rm -rf --) <"$in/unused"
}
free_kib() { df -Pk "$1" | awk 'NR == 2 { print $4 }'; }
prune "$keep"

# Is all of it there already, as it should be?
there() {
    [ ! -s "$in/missing" ] || return 1
    case $kind in
        tree)
            [ -d "$folder/root" ] && [ ! -L "$folder" ] && [ ! -L "$folder/root" ] || return 1
            [ "$(cat "$folder/artefact" 2>/dev/null)" = "$name $digest" ] || return 1
            printf %s "$record" | base64 -d | cmp -s - "$folder/release.json" || return 1
            # What runs may have written there.
            in_use "$folder" || [ -z "$( (whole tar --compare -f - -C "$folder/root" 2>&1 || :) | grep -v ': [UG]id differs$')" ]
            ;;
        image) docker image inspect -- "$image" >/dev/null 2>&1 ;;
        program)
            [ "$(readlink "$base/program")" = "programs/$digest" ] && [ -x "$base/programs/$digest" ] &&
                [ "$(sha256sum <"$base/programs/$digest")" = "$digest  -" ]
            ;;
    esac
}
missing >"$in/missing"
if there; then
    say there yes
    exit 0
fi
# How much more there will be, in KiB: what is sent, and what is made of it.
sent=$(awk 'NR == FNR { missing[$1]; next } $1 == "piece" && ($2 in missing) && !seen[$2]++ { sum += $3 } END { printf "%d", sum / 1024 + 1 }' "$in/missing" "$in/input")
[ -s "$in/missing" ] || sent=0
made=$((size / 1024 + entries * 4 + 1))
room() {
    free=$(free_kib "$base") needed=$((sent + kept))
    if [ "$kind" = image ] && [ "$(stat -c %d "$root" 2>/dev/null)" != "$(stat -c %d "$base")" ]; then
        # Docker has a disk of its own.
        other=$(free_kib "$root")
        if [ "$other" -lt $((made + kept)) ]; then free=$other needed=$((made + kept)); fi
    else
        needed=$((needed + made))
    fi
    [ "$free" -ge "$needed" ]
}
# What could be kept is not kept at the price of what is wanted.
room || { prune 0; room; } || {
    # It never came here: nothing is to make way for it next time.
    [ -z "$fresh" ] || rm -f "$refs/$name"
    say needed_kib "$needed"
    say free_kib "$free"
    exit 0
}
