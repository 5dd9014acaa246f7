# Reads the unit's name, whose app has left the host (`app/environment`, or nothing), and the account of
# the edge.
# Nothing of the supervisor, the program and the store is left; nobody may need them any more.
set -eu
base=/var/lib/vrooli-deploy
trap '' PIPE
read -r unit
read -r leaves
read -r edge
file=/etc/systemd/system/$unit
if [ -d "$base/store/refs" ]; then
    exec 9>"$base/store/lock"
    flock -w 200 9
    # Whose app is gone needs nothing of it. What others have of its pieces stays.
    if [ -n "$leaves" ]; then
        images=$(cat "$base/store/refs/$leaves"/* 2>/dev/null | sed -n 's/^image //p' | sort -u)
        rm -rf "${base:?}/store/refs/$leaves"
        rmdir "$base/store/refs/${leaves%/*}" 2>/dev/null || :
        for image in $images; do
            grep -rqxF "image $image" "$base/store/refs" || docker image rm -- "vrooli-deploy/image:${image#sha256:}" >/dev/null 2>&1 || :
        done
    fi
    used=$(cd "$base/store/refs" && find . -mindepth 3 -maxdepth 3 -type f ! -path './.own/*' | cut -d / -f 2,3 | sort -u)
    [ -z "$used" ] || { printf '%s\n' "$used" >&2; exit 32; }
fi
if [ -e "$file" ]; then
    # What it started outlives it otherwise.
    mkdir -p "/run/systemd/system/$unit.d"
    printf '[Service]\nKillMode=control-group\nTimeoutStopSec=20\n' >"/run/systemd/system/$unit.d/end.conf"
    chmod -R go+rX "/run/systemd/system/$unit.d"
    systemctl daemon-reload
    systemctl disable --quiet --now "$unit"
    rm -rf "$file" "/run/systemd/system/$unit.d"
    systemctl daemon-reload
    systemctl reset-failed "$unit" 2>/dev/null || :
fi
if getent passwd "$edge" >/dev/null; then
    userdel "$edge" 2>/dev/null || :
    if getent group "$edge" >/dev/null; then groupdel "$edge" 2>/dev/null || :; fi
fi
rm -rf "$base/program" "$base/programs" "$base/store" "$base/workspace/run" "$base/workspace/supervisor.json" "$base/workspace/edge.json" "$base/workspace/edge"
# Data that an app left stay, and with them what the workspace is known by.
if [ -z "$(find "$base/workspace/apps" -type f 2>/dev/null | head -n 1)" ]; then
    rm -rf "$base/workspace"
    rmdir "$base" 2>/dev/null || :
fi
