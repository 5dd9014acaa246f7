#!/usr/bin/env bash
# Images for tests of servers in containers, made of Debian packages: nothing is pulled from
# a registry. What they promise is what the official images do: entry point, POSTGRES_*
# variables and their _FILE forms, PGDATA on a volume, account 999, stop signal, health check.
# Prints what it made. Needs a Docker engine, mmdebstrap and Debian's archive.
set -euo pipefail
cd "$(dirname "$0")"

postgres=vrooli-deploy-test/postgres:15
redis=vrooli-deploy-test/redis:7
suite=bookworm

say() { printf '%s\n' "$*"; }
there() { docker image inspect "$1" >/dev/null 2>&1; }

if [[ ${1:-} != --again ]] && there "$postgres" && there "$redis"; then
    say "$postgres and $redis are here"
    exit 0
fi
command -v mmdebstrap >/dev/null || { say "mmdebstrap is missing (apt-get install mmdebstrap)"; exit 1; }

# The archive that this machine's own apt uses, if it is Debian's.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v security | sort -u | head -n 1 || true)
[[ $mirror == *debian* ]] || mirror=http://deb.debian.org/debian

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# make TAG PACKAGES HOOKS… <DOCKERFILE: a root of packages, and what is said about it.
make() {
    local tag=$1 packages=$2
    shift 2
    # To a file: a pipe that ends early takes the whole process group with it.
    mmdebstrap --quiet --variant=minbase --include="$packages" --format=tar \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt=force-unsafe-io \
        "$@" "$suite" "$work/root.tar" "deb $mirror $suite main" </dev/null
    docker import "$work/root.tar" "$tag-root" >/dev/null
    { echo "FROM $tag-root"; cat; } | DOCKER_BUILDKIT=0 docker build --quiet --tag "$tag" - 2>/dev/null >/dev/null
    docker rmi "$tag-root" >/dev/null 2>&1 || true
    rm "$work/root.tar"
    say "made $tag"
}

# Accounts have the numbers that the official images give them.
account() {
    printf -- '--essential-hook=echo "%s:x:999:" >>"$1/etc/group"; echo "%s:x:999:999::%s:/bin/sh" >>"$1/etc/passwd"' "$1" "$1" "$2"
}

make "$postgres" postgresql-15,gosu \
    "$(account postgres /var/lib/postgresql)" \
    --customize-hook='rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15' \
    --customize-hook='upload postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh' \
    --customize-hook='chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"' \
    --customize-hook='chroot "$1" install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data' <<'END'
RUN install -d -o postgres -g postgres -m 3777 /var/run/postgresql
ENV PG_MAJOR=15 PGDATA=/var/lib/postgresql/data
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s CMD pg_isready -q
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END

make "$redis" redis-server,gosu \
    "$(account redis /data)" \
    --customize-hook='upload redis-entrypoint.sh /usr/local/bin/docker-entrypoint.sh' \
    --customize-hook='chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"' \
    --customize-hook='chroot "$1" install -d -o redis -g redis /data' <<'END'
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
VOLUME /data
WORKDIR /data
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
END
