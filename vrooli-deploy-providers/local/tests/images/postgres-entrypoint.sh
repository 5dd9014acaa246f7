#!/bin/bash
# What an image of PostgreSQL promises of its entry point: `postgres` as root becomes the
# account `postgres`, and an empty PGDATA is filled only if a password is given.
set -euo pipefail

given() { # NAME DEFAULT: the variable, or what is in the file that NAME_FILE names
    local file=${1}_FILE
    if [[ -n ${!file:-} ]]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

[[ ${1:-} == -* ]] && set -- postgres "$@"
if [[ ${1:-} == postgres ]]; then
    if [[ $(id -u) == 0 ]]; then
        mkdir -p "$PGDATA"
        chmod 700 "$PGDATA"
        find "$PGDATA" ! -user postgres -exec chown postgres {} +
        exec gosu postgres "$0" "$@"
    fi
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        password=$(given POSTGRES_PASSWORD '') user=$(given POSTGRES_USER postgres)
        database=$(given POSTGRES_DB "$user")
        [[ -n $password ]] || { echo 'Error: Database is uninitialized and superuser password is not specified.' >&2; exit 1; }
        initdb -U "$user" --pwfile=<(printf '%s\n' "$password") --auth=scram-sha-256
        echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
        pg_ctl -w -o '-c listen_addresses=' start
        [[ $database == postgres ]] || PGPASSWORD=$password psql -U "$user" -d postgres -c "CREATE DATABASE \"$database\""
        pg_ctl -w -m fast stop
    fi
fi
exec "$@"
