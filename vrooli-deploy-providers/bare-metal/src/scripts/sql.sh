# Gives statements to a database of a stack. Reads stack, owner, fence, the id of its server, as whom
# (`app` or `superuser`), whether they are one transaction, and how many bytes of them come; then them.
# After host.sh and roles.sh.
read -r stack
read -r owner
read -r fence
read -r id
read -r as
read -r one
read -r size
if is_refused; then exit 0; fi
made=$roles/$stack/$id
major=$(fact major)
port=$(fact port)
install -d -m 755 "$run" || exit 1
work=$(mktemp -d "$run/sql.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
# All of it is here before any is run: what is cut off is never committed in part.
head -c "$size" >"$work/given"
if [ "$(stat -c %s "$work/given")" != "$size" ]; then
    echo "the statements did not arrive whole" >&2
    exit 1
fi
# On the first line, so that the lines of messages are those of the file.
{ [ "$as" = superuser ] || printf 'SET SESSION AUTHORIZATION "%s"; ' "$(fact role)"; cat "$work/given"; } >"$work/sql" || exit 1
set -- -d "$(fact database)" -F "$(printf '\t')" -f -
[ "$one" = no ] || set -- --single-transaction "$@"
export PGCLIENTENCODING=UTF8 PGAPPNAME=vrooli-deploy PGOPTIONS='-c client_min_messages=warning'
psql_as_postgres "$@" <"$work/sql" >"$work/rows" 2>"$work/words"
say status $?
[ "$one" = yes ] || sed "s/^/row$(printf '\t')/" "$work/rows"
head -c 60000 "$work/words" | sed "s/^/words$(printf '\t')/"
