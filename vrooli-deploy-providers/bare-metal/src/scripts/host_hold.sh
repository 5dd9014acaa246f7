# Holds a host for one run, as long as signs of life come in: one byte in 30 s at least. Reads stack,
# owner, fence, who it is, and for how many seconds it is waited. After host.sh.
read -r stack
read -r owner
read -r fence
read -r who
read -r patience
install -d -m 755 "$run" || exit 1
if is_refused; then
    say ready no
    exit 0
fi
exec 8>>"$run/$stack.lease"
if ! flock -w "$patience" 8; then
    say held "$(cat "$run/$stack.holder" 2>/dev/null)"
    say ready no
    exit 0
fi
printf '%s\n' "$who" >"$run/$stack.holder"
say ready yes
while [ -n "$(timeout 30 head -c 1 8>&-)" ]; do :; done
rm -f "$run/$stack.holder"
