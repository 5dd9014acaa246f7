# Takes pieces, each after its name and its length; then, if it is told of which, makes a file.
set -eu
store=/var/lib/vrooli-deploy/store
new=$(mktemp "$store/.new-XXXXXX")
trap 'rm -f "$new"' EXIT
# Whoever asked may be gone: then it ends like any other failure.
trap '' PIPE
trap 'exit 5' HUP INT TERM
is() { [ "$(sha256sum <"$new")" = "$1  -" ]; }
while read -r piece length && [ "$piece" != end ]; do
    head -c "$length" >"$new"
    is "$piece" || { echo "a piece has not arrived whole: $piece" >&2; exit 4; }
    mv -f "$new" "$store/pieces/$piece"
done
if read -r file; then
    : >"$new"
    while read -r piece; do cat "$store/pieces/$piece" >>"$new"; done
    is "$file" || { echo "the file is not what it should be: $file" >&2; exit 4; }
    sync -d "$new"
    mv -f "$new" "$store/files/$file"
fi
