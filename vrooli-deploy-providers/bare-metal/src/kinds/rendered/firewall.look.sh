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
