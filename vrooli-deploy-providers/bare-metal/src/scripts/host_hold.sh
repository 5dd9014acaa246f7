# Holds a host for one run, as long as signs of life come in: one byte in 30 s at least. Reads stack,
# owner, fence, who it is, for how many seconds it is waited, and whether the stack is taken over from
# another state if one owns it. After host.sh.
read -r stack
read -r owner
read -r fence
read -r who
read -r patience
read -r takes
# Who owns it is said in the first line of the record. A change that is still at it is waited for.
take_over() {
    file=$record/$stack.json
    [ -f "$file" ] || return 0
    exec 9>>"$run/lock"
    flock -w 600 9 || return 1
    theirs=$(sed -n '1s/.*"owner":"\([0-9a-f-]*\)".*/\1/p' "$file")
    if [ -n "$theirs" ] && [ "$theirs" != "$owner" ]; then
        printf '%s %s %s\n' "$theirs" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$who" >"$record/$stack.taken" &&
            sed "1s/\"owner\":\"$theirs\"/\"owner\":\"$owner\"/" "$file" >"$file.new" &&
            sync "$record/$stack.taken" "$file.new" && mv -f "$file.new" "$file" && sync "$record" || return 1
    fi
    exec 9>&-
}
[ -d "$run" ] || install -d -m 755 "$run" || exit 1
if [ "$takes" = no ] && is_refused; then
    say ready no
    exit 0
fi
exec 8>>"$run/$stack.lease"
if ! flock -w "$patience" 8; then
    say held "$(cat "$run/$stack.holder" 2>/dev/null)"
    say ready no
    exit 0
fi
if [ "$takes" = yes ]; then
    take_over || exit 1
    if is_refused; then
        say ready no
        exit 0
    fi
fi
printf '%s\n' "$who" >"$run/$stack.holder"
say ready yes
while [ -n "$(timeout 30 head -c 1 8>&-)" ]; do :; done
rm -f "$run/$stack.holder"
