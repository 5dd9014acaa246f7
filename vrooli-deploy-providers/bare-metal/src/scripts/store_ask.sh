# Is a file there, and if not, which of its pieces are missing? Reads the name of the file, then
# the names of its pieces.
set -eu
store=/var/lib/vrooli-deploy/store
read -r file
if [ -f "$store/files/$file" ]; then
    printf 'file\tthere\n'
    exit 0
fi
mkdir -p "$store/files" "$store/pieces"
# What was left by one that was killed: a name is only given to what is whole.
find "$store" -name '.new-*' -mmin +60 -delete
df -Pk "$store" | {
    read -r _
    read -r _ _ _ free _
    printf 'free_kib\t%s\n' "$free"
}
while read -r piece; do
    [ -f "$store/pieces/$piece" ] || printf 'missing\t%s\n' "$piece"
done
