# Takes pieces of an artefact that were missing, and makes of all of them what is wanted. After
# read_input.
flock -u 9
cut=
tar -x -f - -C "$in/pieces" --no-same-owner 2>"$in/words" || cut=yes
lock
adopt "$in/pieces"
[ -z "$cut" ] || { cat "$in/words" >&2; exit 21; }
missing >"$in/missing"
if [ -s "$in/missing" ]; then
    # Something did not arrive as it was sent, or somebody took it away meanwhile.
    tell_missing
    exit 0
fi
# What is needed is known by name and stays: others need not wait.
flock -u 9
case $kind in
    tree)
        passage "$base/workspace"
        passage "$base/workspace/apps"
        passage "$base/workspace/apps/${stack%/*}"
        passage "$base/workspace/apps/$stack"
        passage "$releases"
        [ "$(stat -c %d "$in")" = "$(stat -c %d "$releases")" ] || { echo "$store and $releases are not on one file system" >&2; exit 26; }
        mkdir "$in/release" "$in/release/root"
        whole tar -x -f - -C "$in/release/root" --no-same-owner --same-permissions
        [ -z "$owner" ] || chown -hR -- "$owner:" "$in/release/root"
        chmod 750 "$in/release/root"
        printf %s "$record" | base64 -d >"$in/release/release.json"
        printf '%s\n' "$name $digest" >"$in/release/artefact"
        chmod 711 "$in/release"
        # On the disk before it has its name, or a power cut would leave a half one of that name. A
        # few files by themselves: what others write on that disk is not waited for.
        if [ "$(find "$in/release" | head -n 200 | wc -l)" -lt 200 ]; then
            find "$in/release" '(' -type f -o -type d ')' -exec sync {} +
        else
            sync -f "$in/release"
        fi
        if [ -e "$folder" ] || [ -L "$folder" ]; then
            if in_use "$folder"; then echo "$folder" >&2; exit 23; fi
            mv -T "$folder" "$in/replaced"
        fi
        mv -T "$in/release" "$folder"
        sync "$releases"
        ;;
    image)
        whole docker load -q >/dev/null
        docker image inspect -- "$image" >/dev/null 2>&1 || { echo "the archive holds another image than $image" >&2; exit 22; }
        ;;
    program)
        mkdir -p "$base/programs"
        chmod 755 "$base/programs"
        before=$(readlink "$base/program" || :)
        whole cp /dev/stdin "$in/program"
        chmod 755 "$in/program"
        sync "$in/program"
        [ -f "$base/programs/$digest" ] || rm -rf "${base:?}/programs/$digest"
        mv -fT "$in/program" "$base/programs/$digest"
        ln -s "programs/$digest" "$in/link"
        [ -L "$base/program" ] || rm -rf "${base:?}/program"
        mv -fT "$in/link" "$base/program"
        sync "$base"
        # Those before, but the last and what still runs.
        for old in "$base"/programs/*; do
            [ "$old" = "$base/programs/$digest" ] || [ "$old" = "$base/$before" ] ||
                [ -n "$(find /proc/[0-9]*/exe -maxdepth 0 -lname "$old" 2>/dev/null | head -n 1)" ] || rm -rf "$old"
        done
        ;;
esac
say done yes
