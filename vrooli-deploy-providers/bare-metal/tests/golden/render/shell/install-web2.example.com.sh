#!/bin/sh
# Prepares one server for an app. Run as root; --dry-run says what would be changed and changes nothing.
# Written by `vrooli-deploy render`: changes by hand are not written over, and are not kept either.
# shellcheck disable=SC2317,SC2329,SC2034 # what any server can have: this one may not have it all
# shellcheck disable=SC2013 # names of packages and ports hold no blanks
set -eu
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
stack='shop.staging'
server='web2.example.com'
split='|'

# […]


# What would be changed, a line each; nothing: it is as it should be.
differs_packages() {
    : >"$work/named"
    while IFS=$split read -r name masked _ _ others _; do
        printf '%s\n' "$name" >>"$work/named"
        # shellcheck disable=SC2086 # names of packages
        there=$(standing_for "$name" $others)
        if is_installed "$there"; then
            was=$(cat "$packages/$name/version" 2>/dev/null || true)
            if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$there")" lt "$was"; then
                echo "$name is older than $was"
            fi
            if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then
                echo "let go of $masked"
            fi
        else
            echo "install $name"
        fi
        [ -e "$packages/$name/wanted/$stack" ] || echo "note that $name is wanted"
    done
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        name=${name%%/*}
        grep -qxF "$name" "$work/named" || echo "give $name back"
    done
}
differs_user() {
    while IFS=$split read -r name folder; do
        if ! there=$(getent passwd "$name"); then
            echo "make the user $name"
        elif [ "$(printf %s "$there" | cut -d: -f5)" != "vrooli-deploy $stack" ]; then
            echo "the user $name was there before, and is not the app's"
        else
            case $there in
                *":$folder:/usr/sbin/nologin") ;;
                *) echo "change home or shell of the user $name" ;;
            esac
        fi
    done
}
differs_directories() {
    while IFS=$split read -r path mode owner_name group; do
        if [ -L "$path" ]; then
            echo "$path is a link"
        elif ! seen=$(stat -c '%a %U %G' "$path" 2>/dev/null); then
            echo "make $path"
        elif [ "$seen" != "$mode $owner_name $group" ]; then
            echo "$path is $seen, not $mode $owner_name $group"
        fi
    done
}
differs_firewall() {
    cat >"$work/ports"
    ports=$(joined <"$work/ports")
    cmp -s "$work/ports" "$walls/wanted/$stack" || echo "want ${ports:-no port} open"
    if ufw_is_on; then
        while read -r port; do
            ufw_allowed | grep -qx "$port" || echo "allow $port in ufw"
        done <"$work/ports"
    elif ! others_filter; then
        has_table || echo "make a table of rules"
        while read -r port; do
            table_allows | grep -qx "$port" || echo "open $port"
        done <"$work/ports"
        [ -L "/etc/systemd/system/sysinit.target.wants/$unit" ] || [ ! -d /run/systemd/system ] ||
            echo "load the rules at boot"
    fi
}

begin() {
    dry_run=no
    changed=no
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry_run=yes ;;
            -h | --help)
                echo "prepares $server for $stack: [--dry-run]"
                exit 0
                ;;
            *)
                echo "not understood: $1 (there is --dry-run)" >&2
                exit 2
                ;;
        esac
        shift
    done
    [ "$(id -u)" = 0 ] || { echo 'this needs root: sudo' >&2; exit 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 5' HUP INT TERM
    [ "$dry_run" = no ] || return 0
    # One change at a time, ours by other ways among them.
    install -d -m 755 "$run"
    exec 9>>"$run/lock"
    flock -w 600 9 || { echo 'another change takes too long' >&2; exit 1; }
}
step() {
    cat >"$work/items"
    "differs_$1" <"$work/items" >"$work/differs"
    if [ ! -s "$work/differs" ]; then
        echo "ok: $1"
        return 0
    fi
    changed=yes
    sed "s/^/change: $1: /" "$work/differs"
    [ "$dry_run" = no ] || return 0
    # Nothing that is started here may hold the lock.
    (
        set -e
        "op_$1_put" <"$work/items"
    ) 9>&-
    "differs_$1" <"$work/items" >"$work/differs"
    if [ -s "$work/differs" ]; then
        sed "s/^/failed: $1: /" "$work/differs" >&2
        exit 1
    fi
}
finish() {
    case $dry_run$changed in
        yesyes) echo "$server would be changed" ;;
        noyes) echo "$server is changed" ;;
        *) echo "$server is as it should be" ;;
    esac
}
# shop/staging
main() {
    begin "$@"
    step packages <<'VROOLI_DEPLOY_END|'
ca-certificates|||||
iproute2|||||
nftables|||||
VROOLI_DEPLOY_END|
    step user <<'VROOLI_DEPLOY_END|'
vd-shop-staging-2463fd|/var/lib/vrooli-deploy/workspace/apps/shop/staging
VROOLI_DEPLOY_END|
    step directories <<'VROOLI_DEPLOY_END|'
/var/lib/vrooli-deploy/workspace/apps/shop/staging/data|700|vd-shop-staging-2463fd|vd-shop-staging-2463fd
/var/lib/vrooli-deploy/workspace/apps/shop/staging|750|root|vd-shop-staging-2463fd
/var/lib/vrooli-deploy/workspace/apps/shop/staging/releases|750|root|vd-shop-staging-2463fd
VROOLI_DEPLOY_END|
    step firewall <<'VROOLI_DEPLOY_END|'
80
443
VROOLI_DEPLOY_END|
    finish
}

main "$@"
