differs_packages() {
    : >"$work/named"
    while IFS=$split read -r name masked _; do
        printf '%s\n' "$name" >>"$work/named"
        if is_installed "$name"; then
            was=$(cat "$packages/$name/version" 2>/dev/null || true)
            if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$name")" lt "$was"; then
                echo "$name is older than $was"
            fi
            if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then
                echo "let go of $masked"
            fi
        else
            echo "install $name"
        fi
        [ -e "$packages/$name/wanted/$stack" ] || echo "note that $name is wanted"
    done
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        name=${name%%/*}
        grep -qxF "$name" "$work/named" || echo "give $name back"
    done
}
