# Becomes our program, which serves this host's fleet to whoever reads and writes here, and holds the
# host for this run as long as it does. Reads stack, owner, fence, who it is, for how many seconds it is
# waited, and whether the run holds the host already. After host.sh.
read -r stack
read -r owner
read -r fence
read -r who
read -r patience
read -r holds
if [ "$holds" = no ]; then
    [ -d "$run" ] || install -d -m 755 "$run" || exit 1
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
fi
say ready yes
exec "$home/program" __vrooli-deploy-child agent "$workspace" "$supervisor"
