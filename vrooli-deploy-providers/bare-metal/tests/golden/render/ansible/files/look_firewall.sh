# Run on the server by its shell; changes nothing there.
# Prints how the firewall is and what its rules are to be, as one line of JSON. The stack's name and its
# ports are the arguments.
# shellcheck shell=sh disable=SC2034,SC2013 # names of folders that are not needed here; ports hold no blanks
home=/var/lib/vrooli-deploy
workspace=$home/workspace
record=$home/host-record
packages=$home/packages
walls=$home/firewall
roles=$home/roles
run=/run/vrooli-deploy
table=vrooli_deploy
unit=vrooli-deploy-firewall.service
supervisor=vrooli-deploy-supervisor.service
say() { printf '%s\t%s\n' "$1" "$2"; }
# The folder of a stack, which is app and environment; neither has a dot.
place() { printf %s "$workspace/apps/${1%.*}/${1##*.}"; }
ufw_is_on() { [ -f /etc/ufw/ufw.conf ] && grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && command -v ufw >/dev/null; }
has_table() { command -v nft >/dev/null && nft list table inet "$table" >/dev/null 2>&1; }
# Does a firewall of somebody else's keep anything out?
others_filter() {
    if command -v nft >/dev/null && nft list ruleset 2>/dev/null | awk -v own="$table" '
        $1 == "table" { ours = ($3 == own); input = 0 }
        $1 == "chain" { input = 0 }
        /hook input/ { input = !ours }
        input && /policy drop| drop| reject| jump | goto / { found = 1 }
        END { exit !found }'; then
        return 0
    fi
    command -v iptables >/dev/null && iptables -S INPUT 2>/dev/null | grep -Eq 'DROP|REJECT|-j '
}
ufw_allowed() { ufw status 2>/dev/null | sed -n 's/^\([0-9][0-9]*\)\(\/tcp\)\{0,1\}  *ALLOW  *Anywhere.*/\1/p'; }
# Ports that are open to one address: port, address.
ufw_allows_from() { ufw status 2>/dev/null | sed -n 's/^\([0-9][0-9]*\)\/tcp  *ALLOW  *\([0-9a-f][0-9a-f.:]*\).*/\1 \2/p'; }
table_allows_from() {
    nft list chain inet "$table" input 2>/dev/null |
        sed -n 's/^[[:space:]]*ip6\{0,1\} saddr \([0-9a-f.:]*\) tcp dport \([0-9]*\) accept.*/\2 \1/p'
}
table_allows() {
    nft list chain inet "$table" input 2>/dev/null | sed -n 's/^[[:space:]]*tcp dport \(.*\) accept.*/\1/p' | tr -cs 0-9 '\n'
}
wanted_from() { cat "$roles"/*/*/from 2>/dev/null | sort -u; }
# What was reached before we came, but for what has come to be ours.
kept_tcp() {
    wanted_from | cut -d ' ' -f 1 >"$work/ours"
    grep -vxF -f "$work/ours" "$walls/kept-tcp" || true
}
wanted_ports() { cat "$walls"/wanted/* 2>/dev/null | sort -un; }
# Ports that somebody listens on, from elsewhere than this machine: `t` or `u`.
listening() {
    ss -H -l -n "-$1" 2>/dev/null | while read -r _ _ _ address _; do
        case $address in
            127.* | '[::1]':* | '[::ffff:127.'*) ;;
            *) printf '%s\n' "${address##*:}" ;;
        esac
    done | sort -un
}
joined() { sort -un | paste -s -d , -; }
rules() {
    # Whoever logs in must always be able to: by a rule of its own, whatever becomes of the others.
    kept=$({ kept_tcp; sshd -T 2>/dev/null | sed -n 's/^port //p'; } | joined)
    [ -n "$kept" ] || { echo 'nobody says on which port SSH listens' >&2; return 1; }
    wanted=$(wanted_ports | joined)
    [ -z "$wanted" ] || wanted="tcp dport { $wanted } accept"
    from=$(wanted_from | while read -r port address; do
        case $address in
            *:*) printf '    ip6 saddr %s tcp dport %s accept\n' "$address" "$port" ;;
            *) printf '    ip saddr %s tcp dport %s accept\n' "$address" "$port" ;;
        esac
    done)
    udp=$({ printf '68\n546\n'; cat "$walls/kept-udp"; } | joined)
    cat <<END
table inet $table
delete table inet $table
table inet $table {
  chain input {
    type filter hook input priority 10; policy accept;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto != { tcp, udp } accept
    tcp dport { $kept } accept
    $wanted
$from
    udp dport { $udp } accept
    ct state new drop
  }
}
END
}
unit_text() {
    cat <<END
[Unit]
Description=Firewall of vrooli-deploy
DefaultDependencies=no
RequiresMountsFor=$walls
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=nftables.service ufw.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f $walls/rules.nft

[Install]
WantedBy=sysinit.target
END
}
set -eu
stack=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seen=$work/walls
mkdir -p "$seen/wanted"
for one in "$walls"/wanted/*; do
    [ ! -f "$one" ] || cp "$one" "$seen/wanted/"
done
for port do printf '%s\n' "$port"; done >"$seen/wanted/$stack"
for one in tcp udp; do
    if [ -f "$walls/kept-$one" ]; then
        cp "$walls/kept-$one" "$seen/kept-$one"
    else
        listening "${one%??}" >"$seen/kept-$one"
    fi
done
way=own
loaded=false
lasts=false
missing=
if ufw_is_on; then
    way=ufw
    missing=$(for port in $(sort -un "$seen"/wanted/*); do ufw_allowed | grep -qx "$port" || echo "$port"; done | joined)
elif others_filter; then
    way=other
elif has_table; then
    table_allows | sed '/^$/d' | sort -un >"$work/live"
    { (walls=$seen; kept_tcp; wanted_ports); sshd -T 2>/dev/null | sed -n 's/^port //p'; } | sort -un >"$work/asked"
    table_allows_from | sort -u >"$work/live-from"
    wanted_from >"$work/asked-from"
    ! cmp -s "$work/live" "$work/asked" || ! cmp -s "$work/live-from" "$work/asked-from" || loaded=true
fi
[ ! -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || lasts=true
coded() { base64 -w 0; }
printf '{"way":"%s","loaded":%s,"lasts":%s,"missing":[%s],"rules":"%s","unit":"%s","kept_tcp":"%s","kept_udp":"%s"}\n' \
    "$way" "$loaded" "$lasts" "$missing" "$( (walls=$seen; rules) | coded)" "$(unit_text | coded)" \
    "$(coded <"$seen/kept-tcp")" "$(coded <"$seen/kept-udp")"
