# What could be in the way of a deployment. Reads only; uses `say` and `as` of facts.sh.
# Who listens where: port, pid, command, and the unit that the process belongs to.
if command -v ss >/dev/null; then
    say sockets yes
    $as ss -H -l -t -n -p 2>/dev/null | while read -r _ _ _ address _ rest; do
        port=${address##*:}
        pid=$(printf %s "$rest" | sed -n 's/.*[(,]pid=\([0-9]*\).*/\1/p')
        command=$(printf %s "$rest" | sed -n 's/^[^"]*"\([^"]*\)".*/\1/p')
        unit=
        [ -z "$pid" ] || unit=$(sed -n 's|.*/\([^/]*\.service\).*|\1|p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
        say listen "$port ${pid:--} ${command:--} ${unit:--}"
    done
fi
# The first firewall that is in force says what it lets in.
if command -v ufw >/dev/null && $as ufw status 2>/dev/null | grep -q '^Status: active'; then
    say firewall ufw
    $as ufw status 2>/dev/null | sed -n 's/^\([^ ].*[^ ]\)  *ALLOW.*/\1/p' | while read -r rule; do say allows "$rule"; done
elif command -v firewall-cmd >/dev/null && $as firewall-cmd --state 2>/dev/null | grep -q '^running'; then
    say firewall firewalld
    for rule in $($as firewall-cmd --list-ports 2>/dev/null) $($as firewall-cmd --list-services 2>/dev/null); do say allows "$rule"; done
elif command -v iptables >/dev/null && rules=$($as iptables -S INPUT 2>/dev/null); then
    say firewall iptables
    printf '%s\n' "$rules" | while read -r rule; do say rule "$rule"; done
fi
for command in curl git unzip tar jq; do
    ! command -v "$command" >/dev/null || say command "$command"
done
# Can the archive be asked? To a folder that goes at once: the lists stay as they are.
if command -v apt-get >/dev/null; then
    place=$(mktemp -d)
    archive=$(apt-get -o Debug::NoLocking=1 update --print-uris 2>/dev/null | sed -n "s/^'\([^']*InRelease\)'.*/\1/p" | grep -v 'security\|updates\|backports' | head -n 1)
    if [ -z "$archive" ]; then
        say packages "none: no archive is configured"
    elif why=$(timeout 20 /usr/lib/apt/apt-helper -o Acquire::Retries=0 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 download-file "$archive" "$place/release" 2>&1); then
        say packages "yes: $archive"
    else
        say packages "no: $archive: $(printf %s "$why" | tail -n 1 | tr '\n\t' '  ')"
    fi
    rm -rf "$place"
    for program in apt-get apt dpkg unattended-upgr; do
        for pid in $(pgrep -x "$program" 2>/dev/null); do say busy "$program $pid"; done
    done
    interrupted=$(dpkg --audit 2>/dev/null | head -n 1)
    [ -z "$interrupted" ] || say interrupted "$interrupted"
fi
if command -v curl >/dev/null; then
    if why=$(curl -sS -o /dev/null --max-time 10 https://example.com 2>&1); then say outbound yes; else say outbound "no: $why"; fi
fi
# Programs of ours that no unit of ours knows.
$as ls -l /proc/[0-9]*/exe 2>/dev/null | sed -n 's|.* /proc/\([0-9]*\)/exe -> \(/var/lib/vrooli-deploy/.*\)|\1 \2|p' | while read -r pid program; do
    grep -q '/vrooli-deploy-[^/]*\.service' "/proc/$pid/cgroup" 2>/dev/null || say stale "$pid $program"
done
