# What a host keeps of a stack, and what is there of it. Each line: name, a tab, value.
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
ufw_is_on() { grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && command -v ufw >/dev/null; }
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
# Does the record say that it is not for this owner, or not any more for this run? Then so do we.
is_refused() {
    [ -f "$record/$stack.json" ] || return 1
    theirs=$(sed -n '1s/.*"owner":"\([0-9a-f-]*\)".*/\1/p' "$record/$stack.json")
    if [ "$theirs" != "$owner" ]; then
        say refused "owner $theirs"
        [ ! -f "$record/$stack.taken" ] || say taken "$(cat "$record/$stack.taken")"
        return 0
    fi
    seen=$(cat "$record/$stack.fence" 2>/dev/null || echo 0)
    [ "$fence" -lt "${seen:-0}" ] || return 1
    say refused "fence $seen"
}
survey() {
    [ ! -f "$record/$stack.json" ] || while read -r line; do say record "$line"; done <"$record/$stack.json"
    [ ! -f "$record/$stack.fence" ] || say fence "$(cat "$record/$stack.fence")"
    [ ! -f "$record/$stack.taken" ] || say taken "$(cat "$record/$stack.taken")"
    names=
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        names="$names ${name%%/*}"
    done
    for name in $names; do
        was=$(cat "$packages/$name/version" 2>/dev/null)
        is=$(dpkg-query -W -f='${Version}' "$name" 2>/dev/null)
        if [ -n "$was" ] && [ "$is" != "$was" ] && dpkg --compare-versions "$is" lt "$was"; then say older "$name"; fi
    done
    # shellcheck disable=SC2086 # names of packages
    [ -z "$names" ] || dpkg-query -W -f='package\t${Package} ${Version} ${db:Status-Status}\n' $names 2>/dev/null
    say user "$(getent passwd "$user")"
    find "$(place "$stack")" -maxdepth 1 -type d -printf 'folder\t%m %u %g %p\n' 2>/dev/null
    survey_roles
    say machine "$(uname -m)"
    say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')"
    if [ -x "$home/program" ]; then
        program=$(readlink "$home/program")
        say program "${program#programs/}"
        say unit "$(sha256sum <"/etc/systemd/system/$supervisor" 2>/dev/null | cut -d ' ' -f 1)"
        seen=$("$home/program" __vrooli-deploy-child look "$workspace" "${stack%.*}" "${stack##*.}" 2>&1) && say fleet "$seen" || say unseen "$seen"
    fi
    [ -d "$walls" ] || return 0
    if ufw_is_on; then
        say firewall ufw
        ufw_allows_from | while read -r line; do say from "$line"; done
        for port in $(ufw_allowed); do say open "$port"; done
    elif has_table; then
        say firewall own
        table_allows_from | while read -r line; do say from "$line"; done
        for port in $(table_allows); do say open "$port"; done
        [ ! -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || say lasts yes
    elif others_filter; then
        say firewall other
    else
        say firewall none
    fi
}
