# The unit of the supervisor is there, enabled, active, and runs the program that the host uses.
# Reads its name, the digest of the program, its text, and the account of the edge.
set -eu
base=/var/lib/vrooli-deploy
trap '' PIPE
say() { printf '%s\t%s\n' "$1" "$2"; }
read -r unit
read -r program
read -r text
read -r edge
file=/etc/systemd/system/$unit
# Nobody logs in as it, and it has nothing but what it is handed.
getent passwd "$edge" >/dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --comment 'edge of vrooli-deploy' "$edge"
[ "$(readlink "$base/program" || :)" = "programs/$program" ] || { echo "$base/program is another program than was sent" >&2; exit 31; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 5' HUP INT TERM
printf %s "$text" | base64 -d >"$work/$unit"
changed=
if ! cmp -s "$work/$unit" "$file" || [ -L "$file" ]; then
    # It says nothing of a unit that is right.
    said=$(systemd-analyze verify --man=no "$work/$unit" 2>&1) || { printf '%s\n' "$said" >&2; exit 31; }
    case $said in *"$unit"*) printf '%s\n' "$said" >&2; exit 31 ;; esac
    [ ! -f "$file" ] || cp -p "$file" "$work/before"
    install -m 644 "$work/$unit" "$file.new"
    sync "$file.new"
    mv -fT "$file.new" "$file"
    changed=yes
    say changed yes
fi
# Also where the file is as it should be and systemd has read another.
if [ -n "$changed" ] || [ "$(systemctl show -p NeedDaemonReload --value "$unit")" = yes ]; then systemctl daemon-reload; fi
systemctl is-enabled --quiet "$unit" 2>/dev/null || { systemctl enable --quiet "$unit"; say changed yes; }
[ -d "$base/workspace" ] || mkdir -p "$base/workspace"
chmod a+x "$base" "$base/workspace"
process() { systemctl show -p MainPID --value "$unit"; }
runs() { [ "$(readlink "/proc/$(process)/exe" || :)" = "$base/programs/$program" ]; }
if [ -n "$changed" ] || ! systemctl is-active --quiet "$unit" || ! runs; then
    # Waits until it says that it is ready.
    if ! systemctl restart "$unit"; then
        journalctl -u "$unit" -n 20 -o cat --no-pager >&2 || :
        if [ -f "$work/before" ]; then
            install -m 644 "$work/before" "$file"
            systemctl daemon-reload
            systemctl restart "$unit" || :
        elif [ -n "$changed" ]; then
            systemctl disable --quiet --now "$unit" || :
            rm -f "$file"
            systemctl daemon-reload
        fi
        exit 31
    fi
    say started yes
fi
say process "$(process)"
