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
# Does the record say that it is not for this owner, or not any more for this run? Then so do we.
is_refused() {
    [ -f "$record/$stack.json" ] || return 1
    first=
    read -r first <"$record/$stack.json" || :
    theirs=${first#*\"owner\":\"}
    theirs=${theirs%%\"*}
    if [ "$theirs" != "$owner" ]; then
        say refused "owner $theirs"
        [ ! -f "$record/$stack.taken" ] || say taken "$(cat "$record/$stack.taken")"
        return 0
    fi
    seen=
    [ ! -f "$record/$stack.fence" ] || read -r seen <"$record/$stack.fence" || :
    [ "$fence" -lt "${seen:-0}" ] || return 1
    say refused "fence $seen"
}
# What the table of ours lets in, as a survey says it. Fails where there is none.
survey_table() {
    rules=$(nft list table inet "$table" 2>/dev/null) || return 1
    say firewall own
    printf '%s\n' "$rules" | awk '
        $1 == "chain" { input = ($2 == "input") }
        !input { next }
        $1 ~ /^ip6?$/ && $2 == "saddr" && $4 == "tcp" && $5 == "dport" && $7 == "accept" { print "from\t" $6 " " $3 }
        $1 == "tcp" && $2 == "dport" && sub(/ accept.*/, "") {
            sub(/.*dport /, "")
            count = split($0, ports, /[^0-9]+/)
            for (at = 1; at <= count; at++) if (ports[at] != "") print "open\t" ports[at]
        }'
}
# Each program that is started costs as much as many lines of shell: a host is looked at for every plan.
survey() {
    [ ! -f "$record/$stack.json" ] || while read -r line; do say record "$line"; done <"$record/$stack.json"
    for name in fence taken; do
        [ -f "$record/$stack.$name" ] || continue
        line=
        read -r line <"$record/$stack.$name" || :
        say "$name" "$line"
    done
    names=
    instead=' '
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        name=${name%%/*}
        is=$name
        if [ -f "$packages/$name/as" ]; then
            read -r is <"$packages/$name/as" || :
            instead="$instead$is=$name "
        fi
        names="$names $is"
    done
    # shellcheck disable=SC2086 # names of packages
    [ -z "$names" ] || dpkg-query -W -f='${Package} ${db:Status-Status} ${Version}\n' $names 2>/dev/null |
        while read -r name status is; do
            case $instead in
                *" $name="*) name=${instead##*" $name="} name=${name%% *} ;;
            esac
            say package "$name $is $status"
            was=
            [ ! -f "$packages/$name/version" ] || read -r was <"$packages/$name/version" || :
            if [ -n "$was" ] && [ "$is" != "$was" ] && dpkg --compare-versions "$is" lt "$was"; then say older "$name"; fi
        done
    say user "$(getent passwd "$user")"
    find "$workspace/apps/${stack%.*}/${stack##*.}" -maxdepth 1 -type d -printf 'folder\t%m %u %g %p\n' 2>/dev/null
    survey_roles
    machine=
    # Linux 6.1 and later.
    [ ! -r /proc/sys/kernel/arch ] || read -r machine </proc/sys/kernel/arch || :
    say machine "${machine:-$(uname -m)}"
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
    say glibc "${glibc#glibc }"
    if [ -x "$home/program" ]; then
        program=$(readlink "$home/program")
        say program "${program#programs/}"
        sum=$(sha256sum <"/etc/systemd/system/$supervisor" 2>/dev/null)
        say unit "${sum%% *}"
        seen=$("$home/program" __vrooli-deploy-child look "$workspace" "${stack%.*}" "${stack##*.}" 2>&1) && say fleet "$seen" || say unseen "$seen"
    fi
    [ -d "$walls" ] || return 0
    if ufw_is_on; then
        say firewall ufw
        ufw_allows_from | while read -r line; do say from "$line"; done
        for port in $(ufw_allowed); do say open "$port"; done
    elif survey_table; then
        [ ! -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || say lasts yes
    elif others_filter; then
        say firewall other
    else
        say firewall none
    fi
}
