# Run on the server by its shell; changes nothing there.
# Prints which packages are older than they were seen last, and which units are still kept from being
# started, as one line of JSON. The packages are the arguments, each
# `name=unit=others that do the same`.
# shellcheck shell=sh disable=SC2034 # names of folders that are not needed here
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
is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# What is installed of a package and of those that do the same; else the package.
standing_for() {
    for one do if is_installed "$one"; then echo "$one" && return; fi; done
    echo "$1"
}
set -eu
older=
held=
instead=
for one do
    name=${one%%=*}
    others=${one#*=}
    masked=${others%%=*}
    others=${others#*=}
    # shellcheck disable=SC2086 # names of packages
    there=$(standing_for "$name" $others)
    is_installed "$there" || continue
    if [ "$there" != "$name" ]; then
        instead="$instead${instead:+,}\"$name\""
        continue
    fi
    was=$(cat "$packages/$name/version" 2>/dev/null || true)
    if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$name")" lt "$was"; then
        older="$older${older:+,}\"$name\""
    fi
    if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then
        held="$held${held:+,}\"$masked\""
    fi
done
printf '{"older":[%s],"held":[%s],"instead":[%s]}\n' "$older" "$held" "$instead"
