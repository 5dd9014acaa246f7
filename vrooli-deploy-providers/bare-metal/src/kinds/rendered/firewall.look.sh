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
printf '%s\n' "$@" >"$seen/wanted/$stack"
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
    { cat "$seen/kept-tcp" "$seen"/wanted/*; sshd -T 2>/dev/null | sed -n 's/^port //p'; } | sort -un >"$work/asked"
    ! cmp -s "$work/live" "$work/asked" || loaded=true
fi
[ ! -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || lasts=true
coded() { base64 -w 0; }
printf '{"way":"%s","loaded":%s,"lasts":%s,"missing":[%s],"rules":"%s","unit":"%s","kept_tcp":"%s","kept_udp":"%s"}\n' \
    "$way" "$loaded" "$lasts" "$missing" "$( (walls=$seen; rules) | coded)" "$(unit_text | coded)" \
    "$(coded <"$seen/kept-tcp")" "$(coded <"$seen/kept-udp")"
