differs_firewall() {
    cat >"$work/ports"
    ports=$(joined <"$work/ports")
    cmp -s "$work/ports" "$walls/wanted/$stack" || echo "want ${ports:-no port} open"
    if ufw_is_on; then
        while read -r port; do
            ufw_allowed | grep -qx "$port" || echo "allow $port in ufw"
        done <"$work/ports"
    elif ! others_filter; then
        has_table || echo "make a table of rules"
        while read -r port; do
            table_allows | grep -qx "$port" || echo "open $port"
        done <"$work/ports"
        [ -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || [ ! -d /run/systemd/system ] ||
            echo "load the rules at boot"
    fi
}
