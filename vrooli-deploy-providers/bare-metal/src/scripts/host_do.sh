# Does each change that is asked for, by itself; then looks. After host_change.sh and the others' functions.
put() {
    note "$key" "$begun"
    "op_${kind}_put" <"$work/items"
    note "$key" "$done"
}
delete() {
    "op_${kind}_delete" <"$work/items"
    [ ! -f "$file" ] || note "$key" ''
}
export DEBIAN_FRONTEND=noninteractive
while IFS=$split read -r _ number kind verb key begun done; do
    : >"$work/items"
    rm -f "$work/there"
    while IFS= read -r item && [ "$item" != end ]; do printf '%s\n' "$item" >>"$work/items"; done
    new=no
    grep -qsF "\"$key\":" "$file" || new=yes
    # Nothing that a change starts may hold the lock.
    case $verb in
        delete) (set -e; delete) >"$work/out" 2>"$work/words" 9>&- ;;
        # Changes what it holds and not how it is: nothing is to be recorded.
        restore) (set -e; "op_${kind}_restore" <"$work/items") >"$work/out" 2>"$work/words" 9>&- ;;
        *) (set -e; put) >"$work/out" 2>"$work/words" 9>&- ;;
    esac
    status=$?
    if [ "$status" != 0 ] && [ "$verb" = create ] && [ "$new" = yes ]; then
        # Nothing of it stays; what does, is recorded.
        (set -e; delete) >/dev/null 2>&1 9>&-
    fi
    say answer "$number $status"
    [ "$status" = 0 ] || say words "$number $(tail -c 2000 "$work/words" | tr '\n\t' '  ')"
done
[ -f "$file" ] || rmdir "$home/apps/$stack" "$packages" "$record" "$home/apps" "$home" 2>/dev/null
survey
