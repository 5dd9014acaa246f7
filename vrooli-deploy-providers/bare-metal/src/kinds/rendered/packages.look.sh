set -eu
older=
held=
for one do
    name=${one%%=*}
    masked=${one#*=}
    is_installed "$name" || continue
    was=$(cat "$packages/$name/version" 2>/dev/null || true)
    if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$name")" lt "$was"; then
        older="$older${older:+,}\"$name\""
    fi
    if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then
        held="$held${held:+,}\"$masked\""
    fi
done
printf '{"older":[%s],"held":[%s]}\n' "$older" "$held"
