# Takes pieces of the program that were missing, and puts it in its place. After read_input.
flock -u 9
# Not before: what nobody reads yet somebody would have to hold.
printf '%s\n' --vrooli-deploy-ready--
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
say done yes
