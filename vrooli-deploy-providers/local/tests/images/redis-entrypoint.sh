#!/bin/sh
# What an image of Redis promises of its entry point: `redis-server` as root becomes the
# account `redis`, which then owns the data.
set -e
case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    exec gosu redis "$0" "$@"
fi
exec "$@"
