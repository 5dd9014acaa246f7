set -eu
older=
held=
instead=
for one do
    name=${one%%=*}
    others=${one#*=}
    masked=${others%%=*}
    others=${others#*=}
    # shellcheck disable=SC2086 # names of packages
    there=$(standing_for "$name" $others)
    is_installed "$there" || continue
    if [ "$there" != "$name" ]; then
        instead="$instead${instead:+,}\"$name\""
        continue
    fi
    was=$(cat "$packages/$name/version" 2>/dev/null || true)
    if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$name")" lt "$was"; then
        older="$older${older:+,}\"$name\""
    fi
    if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then
        held="$held${held:+,}\"$masked\""
    fi
done
printf '{"older":[%s],"held":[%s],"instead":[%s]}\n' "$older" "$held" "$instead"
