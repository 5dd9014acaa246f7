# How databases, caches and backups of a stack are, on its host. After host.sh.
fact() { sed -n "s/^$1 //p" "$made/made" 2>/dev/null || true; }
live() { say live "$id $*"; }
psql_as_postgres() {
    (cd / && PGCONNECT_TIMEOUT=10 runuser -u postgres -- "/usr/lib/postgresql/$major/bin/psql" -X -q -A -t -w \
        -v ON_ERROR_STOP=1 -h /var/run/postgresql -p "$port" "$@")
}
seen_file() {
    [ -f "$1" ] || return 0
    say file "$(stat -c '%a %U %G' "$1") $1"
    case $1 in
        *.sh) say text "$1 $(sha256sum <"$1" | cut -d ' ' -f 1)" ;;
        *) while IFS= read -r line || [ -n "$line" ]; do say text "$1 $line"; done <"$1" ;;
    esac
}
seen_postgres() {
    major=$(fact major) port=$(fact port) cluster=$(fact cluster)
    data=/var/lib/postgresql/$major/$cluster
    [ ! -f "$data/PG_VERSION" ] || live data
    systemctl is-active --quiet "postgresql@$major-$cluster" || return 0
    live running
    for key in $(sed -n 's/^\([a-z_.]*\) *=.*/\1/p' "$data/postgresql.auto.conf"); do live altered "$key"; done
    verifier=$(cat "$made/verifier" 2>/dev/null)
    psql_as_postgres -d postgres -v database="$(fact database)" -v role="$(fact role)" 2>/dev/null <<'END' |
SELECT 'database' FROM pg_database WHERE datname = :'database';
SELECT 'connections' FROM pg_database WHERE datname = :'database' AND datallowconn;
SELECT 'user' FROM pg_roles WHERE rolname = :'role' AND rolcanlogin AND NOT rolsuper AND NOT rolcreaterole AND NOT rolcreatedb;
SELECT 'verifier ' || encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex') FROM pg_authid WHERE rolname = :'role';
\connect :database
SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql';
END
        while read -r name value; do
            case $name in
                verifier) [ "$value" != "$verifier" ] || live password ;;
                *) live "$name${value:+ $value}" ;;
            esac
        done
}
seen_redis() {
    folder=$(fact folder)
    service=$(fact unit)
    [ ! -d "$folder/data" ] || live data
    ! systemctl is-active --quiet "$service.service" || live running
    [ ! -L "/etc/systemd/system/multi-user.target.wants/$service.service" ] || live enabled
    [ "$(sha256sum <"$folder/users.acl" 2>/dev/null)" != "$(cat "$made/acl" 2>/dev/null)" ] || live password
}
seen_backup() {
    service=$(fact unit)
    if [ -L "/etc/systemd/system/timers.target.wants/$service.timer" ] && systemctl is-active --quiet "$service.timer"; then
        live timer
    fi
    [ ! -f "$made/last" ] || while read -r name value; do live "$name $value"; done <"$made/last"
    find "$(fact folder)" -maxdepth 1 -type f -name '[0-9]*' -printf "live\t$id backup %f %s\n" 2>/dev/null
}
survey_roles() {
    memory=0
    while read -r name kib _; do
        [ "$name" != MemTotal: ] || { memory=$kib && break; }
    done </proc/meminfo
    for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        bytes=
        [ ! -f "$limit" ] || read -r bytes <"$limit" || :
        case $bytes in
            '' | *[!0-9]*) ;;
            # Longer: no limit, as version 1 writes it.
            ????????????????*) ;;
            *) [ "$((bytes / 1024))" -ge "$memory" ] || memory=$((bytes / 1024)) ;;
        esac
    done
    say memory "$memory"
    # The way out first, bridges of container engines never.
    printf '%s\n' 'route get 192.0.2.1' 'route get 2001:db8::1' 'addr show scope global' | ip -o -force -batch - 2>/dev/null |
        awk '$3 ~ /^inet6?$/ {
                if ($2 !~ /^(docker|br-|veth|virbr|cni|flannel|lxc|podman)/) { sub("/.*", "", $4); print "address\t" $4 }
                next
            }
            sub(/.* src /, "") { sub(/ .*/, ""); print "address\t" $0 }'
    for bin in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$bin" ] || continue
        bin=${bin#/usr/lib/postgresql/}
        say postgres "${bin%%/*}"
    done
    for made in "$roles/$stack"/*; do
        [ -f "$made/made" ] || continue
        id=${made##*/}
        while read -r name value; do say made "$id $name $value"; done <"$made/made"
        for path in $(cat "$made/files" 2>/dev/null); do seen_file "$path"; done
        "seen_${id%%-*}"
    done
}
