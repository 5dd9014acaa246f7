#!/bin/sh
# Saves what one database or one cache holds, tries whether that can be restored, and says what came
# of it in `last`. Written by vrooli-deploy; changes made here are put back.
#   backup.sh HOME backup
#   backup.sh HOME restore NAME
set -eu
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /
home=$1
verb=$2
of='' server='' database='' keep=1 room_percent=100 folder=''
while read -r name value; do
    case $name in
        of) of=$value ;;
        server) server=$value ;;
        database) database=$value ;;
        keep) keep=$value ;;
        room_percent) room_percent=$value ;;
        folder) folder=$value ;;
    esac
done <"$home/settings"
major='' port='' role='' unit='' place='' listen=''
while read -r name value; do
    case $name in
        major) major=$value ;;
        port) port=$value ;;
        role) role=$value ;;
        unit) unit=$value ;;
        folder) place=$value ;;
        listen) listen=$value ;;
    esac
done <"$server/made"
bin=/usr/lib/postgresql/$major/bin
exec 9>>"$home/lock"
flock -w 3600 9 || { echo 'another backup takes too long' >&2; exit 1; }
partial=$folder/.partial
scratch=''

sql() { runuser -u postgres -- "$bin/psql" -X -q -A -t -w -v ON_ERROR_STOP=1 -h /var/run/postgresql -p "$port" "$@" 9>&-; }
exists() { [ -n "$(printf "SELECT 1 FROM pg_database WHERE datname = :'name';\n" | sql -d postgres -v name="$1")" ]; }
drop() {
    ! exists "$1" || printf 'DROP DATABASE :"name" WITH (FORCE);\n' | sql -d postgres -v name="$1"
}
# Restores a dump into a fresh database, and says how many tables are in it then.
fill() {
    drop "$2"
    printf 'CREATE DATABASE :"name" OWNER :"role" TEMPLATE template0;\nREVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;\n' |
        sql -d postgres -v name="$2" -v role="$role"
    runuser -u postgres -- "$bin/pg_restore" -w --exit-on-error -h /var/run/postgresql -p "$port" -d "$2" <"$1" 9>&-
    counted=$(sql -d "$2" -c "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')")
    wanted=$("$bin/pg_restore" -l "$1" | grep -c '^[0-9]*; [0-9]* [0-9]* TABLE DATA ' || true)
    [ "$counted" -ge "$wanted" ] || { echo "$counted tables were restored of $wanted" >&2; return 1; }
}
redis() { REDISCLI_AUTH=$(cat "$server/own") redis-cli --user vrooli-deploy -h "$listen" -p "$port" "$@" 9>&-; }
persistence() { redis info persistence | tr -d '\r' | sed -n "s/^$1://p"; }
saved() {
    while [ "$(persistence rdb_bgsave_in_progress)" != 0 ]; do sleep 0.2; done
}

needs() {
    case $of in
        postgres) printf "SELECT pg_database_size(:'name');\n" | sql -d postgres -v name="$database" ;;
        redis) redis info memory | tr -d '\r' | sed -n 's/^used_memory_dataset://p' ;;
    esac
}
backup() {
    install -d -m 700 "$folder"
    rm -f "$partial"
    size=$(needs)
    # Redis 8 says of a cache that is all but empty less than nothing, as a number without a sign.
    case $size in ???????????????????*) size=0 ;; esac
    need=$((size / 100 * room_percent))
    free=$(df --output=avail -B1 "$folder" | tail -n 1)
    [ "$free" -gt "$need" ] || { echo "no room for a backup: $need bytes are needed in $folder, $free are free" >&2; return 1; }
    case $of in
        postgres)
            end=dump
            runuser -u postgres -- "$bin/pg_dump" -w -Fc -h /var/run/postgresql -p "$port" "$database" >"$partial" 9>&-
            scratch=vrooli_deploy_trial
            fill "$partial" "$scratch"
            drop "$scratch"
            scratch=''
            ;;
        redis)
            end=rdb
            saved
            redis bgsave >/dev/null
            saved
            [ "$(persistence rdb_last_bgsave_status)" = ok ] || { echo 'Redis could not write its data' >&2; return 1; }
            cp "$place/data/dump.rdb" "$partial"
            counted=$(redis-check-rdb "$partial" | sed -n 's/^\[info\] \([0-9]*\) keys read.*/\1/p')
            [ -n "$counted" ] || { redis-check-rdb "$partial" >&2; return 1; }
            ;;
    esac
    sync "$partial"
    file=$(date -u +%Y%m%dT%H%M%SZ).$end
    while [ -e "$folder/$file" ]; do
        sleep 1
        file=$(date -u +%Y%m%dT%H%M%SZ).$end
    done
    mv "$partial" "$folder/$file"
    sync "$folder"
    # Only once there is a newer one that can be restored.
    find "$folder" -maxdepth 1 -type f -name "*.$end" -printf '%f\n' | sort | head -n "-$keep" |
        while read -r old; do rm -f "${folder:?}/$old"; done
}
tell() {
    cat >"$home/last.new"
    sync "$home/last.new"
    mv -f "$home/last.new" "$home/last"
}
ended() {
    status=$?
    trap - EXIT
    rm -f "$partial"
    [ -z "$scratch" ] || drop "$scratch" || true
    if [ "$verb" = backup ] && [ "$status" != 0 ]; then
        words=$(tail -c 400 "$home/words" | tr '\n\t' '  ')
        printf 'at %s\nresult failed\nwords %s\n' "$(date -u +%Y%m%dT%H%M%SZ)" "${words:-it was stopped}" | tell
        cat "$home/words" >&2
    fi
    exit "$status"
}

restore_postgres() {
    scratch=vrooli_deploy_restored
    fill "$1" "$scratch"
    before=vrooli_deploy_before
    drop "$before"
    # One transaction: the app finds the one or the other.
    sql -d postgres -v name="$database" -v new="$scratch" -v before="$before" <<'END'
\set ECHO none
SELECT set_config('vrooli.name', :'name', false) \g /dev/null
ALTER DATABASE :"name" ALLOW_CONNECTIONS false;
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :'name' AND pid <> pg_backend_pid() \g /dev/null
DO $$ BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_setting('vrooli.name'));
        PERFORM pg_sleep(0.1);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
END $$;
BEGIN;
ALTER DATABASE :"name" RENAME TO :"before";
ALTER DATABASE :"new" RENAME TO :"name";
COMMIT;
ALTER DATABASE :"before" ALLOW_CONNECTIONS true;
END
    scratch=''
}
restore_redis() {
    counted=$(redis-check-rdb "$1" | sed -n 's/^\[info\] \([0-9]*\) keys read.*/\1/p')
    [ -n "$counted" ] || { echo "$1 cannot be read" >&2; return 1; }
    systemctl stop "$unit"
    rm -f "$place/data/before.rdb"
    [ ! -e "$place/data/dump.rdb" ] || mv "$place/data/dump.rdb" "$place/data/before.rdb"
    install -o redis -g redis -m 600 "$1" "$place/data/dump.rdb"
    systemctl start "$unit"
}

trap ended EXIT
trap 'exit 5' HUP INT TERM
case $verb in
    backup)
        : >"$home/words"
        backup 2>"$home/words"
        printf 'at %s\nresult ok\nfile %s\nbytes %s\ncounted %s\n' "$(date -u +%Y%m%dT%H%M%SZ)" "$file" \
            "$(stat -c %s "$folder/$file")" "$counted" | tell
        ;;
    restore)
        name=$3
        [ -f "$folder/$name" ] || { echo "there is no backup $name" >&2; exit 18; }
        "restore_$of" "$folder/$name"
        echo "counted $counted"
        ;;
esac
