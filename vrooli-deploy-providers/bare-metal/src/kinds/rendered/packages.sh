differs_packages() {
    : >"$work/named"
    while IFS=$split read -r name masked _ _ others _; do
        printf '%s\n' "$name" >>"$work/named"
        # shellcheck disable=SC2086 # names of packages
        there=$(standing_for "$name" $others)
        if is_installed "$there"; then
            was=$(cat "$packages/$name/version" 2>/dev/null || true)
            if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$there")" lt "$was"; then
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
