differs_packages() {
    : >"$work/named"
    while read -r name; do
        printf '%s\n' "$name" >>"$work/named"
        is_installed "$name" || echo "install $name"
        [ -e "$packages/$name/wanted/$stack" ] || echo "note that $name is wanted"
    done
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        name=${name%%/*}
        grep -qxF "$name" "$work/named" || echo "give $name back"
    done
}
