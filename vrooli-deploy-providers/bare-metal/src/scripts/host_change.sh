# Does what is asked, one after the other, each by itself; then looks. Reads who asks, then for each
# change a head, its items and `end`. Data are only ever arguments. After host.sh
# and the others' functions.
split=$(printf '\037')
read -r stack
read -r user
read -r owner
read -r fence
read -r head
install -d -m 755 "$run" || exit 1
exec 9>>"$run/lock"
flock -w 600 9 || { echo 'another change takes too long' >&2; exit 1; }
file=$record/$stack.json
! is_refused || exit 0
work=$(mktemp -d "$run/change-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
# Whoever asked may be gone: what was begun is done.
trap '' PIPE HUP
trap 'exit 5' INT TERM

# Writes a line about a key into the record, in the place of the one that was there; an empty one
# takes it out.
note() {
    install -d -m 755 "$home"
    install -d -m 700 "$record"
    [ -f "$file" ] || printf '%s\n}}\n' "$head" >"$work/record"
    [ ! -f "$file" ] || cat "$file" >"$work/record"
    at="\"$1\":" line=$2 head=$head awk '
        FNR > 1 && $0 != "}}" { sub(/,$/, ""); if (index($0, ENVIRON["at"]) != 1) all[n++] = $0 }
        END {
            if (ENVIRON["line"] != "") all[n++] = ENVIRON["line"]
            print ENVIRON["head"]
            for (i = 0; i < n; i++) print all[i] (i < n - 1 ? "," : "")
            print "}}"
        }' "$work/record" >"$work/noted"
    if [ "$(wc -l <"$work/noted")" -gt 2 ]; then
        [ "$(cat "$record/$stack.fence" 2>/dev/null)" = "$fence" ] || printf '%s\n' "$fence" | replace "$record/$stack.fence"
        replace "$file" <"$work/noted"
    else
        rm -f "$file" "$record/$stack.fence" "$record/$stack.taken"
        sync "$record"
    fi
}

# What each kind does. A script that is written out for others has this part, too.
# Gives a file its new content, whole or not at all.
replace() {
    cat >"$1.new"
    sync "$1.new"
    mv -f "$1.new" "$1"
    sync "$(dirname "$1")"
}

op_server_put() { :; }
op_server_delete() { :; }

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# What is installed of a package and of those that do the same; else the package.
standing_for() {
    for one do if is_installed "$one"; then echo "$one" && return; fi; done
    echo "$1"
}
list_installed() { dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u; }
get() {
    if ! NEEDRESTART_SUSPEND=1 apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" </dev/null >"$work/said" 2>&1; then
        tail -n 12 "$work/said" >&2
        return 1
    fi
}
# Nobody but us wants these any more: what we installed goes, unless something else needs it by now.
unwant() {
    for name do
        rm -f "$packages/$name/wanted/$stack"
        [ -z "$(ls "$packages/$name/wanted" 2>/dev/null)" ] || continue
        if [ -e "$packages/$name/ours" ]; then
            loud "$name"
            go=$name
            for one in $(cat "$packages/$name/brought" 2>/dev/null); do
                [ -d "$packages/$one" ] || go="$go $one"
            done
            # shellcheck disable=SC2086 # names of packages
            dpkg --remove $go </dev/null >/dev/null 2>&1 || true
        fi
        rm -rf "${packages:?}/$name"
    done
}
# What a package would start by itself it does not: nobody has asked for it.
quiet() {
    [ -n "$1$2" ] || return 0
    if [ -n "$1" ]; then systemctl mask --quiet "$1"; fi
    if [ -n "$2" ]; then
        install -d -m 755 "$(dirname "$2")"
        printf '%s\n' "$3" | replace "$2"
        chmod 644 "$2"
    fi
}
# Its own unit is the user's to start from then on.
unmask() {
    [ -n "$1" ] || return 0
    systemctl unmask --quiet "$1"
    systemctl disable --quiet --now "$1" 2>/dev/null || true
}
loud() {
    rm -f "$(cat "$packages/$1/quieted" 2>/dev/null || echo "$packages/$1/quieted")"
}
op_packages_put() {
    command -v apt-get >/dev/null || { echo 'there is no apt-get: Debian and Ubuntu are prepared' >&2; return 1; }
    missing=
    beside=
    older=
    while IFS=$split read -r name masked at text others companions; do
        install -d -m 755 "$packages/$name/wanted"
        : >"$packages/$name/wanted/$stack"
        printf '%s\n' "$name" >>"$work/wanted"
        # shellcheck disable=SC2086 # names of packages
        there=$(standing_for "$name" $others)
        if [ "$there" = "$name" ]; then rm -f "$packages/$name/as"; else printf '%s\n' "$there" >"$packages/$name/as"; fi
        if is_installed "$there"; then
            was=$(cat "$packages/$name/version" 2>/dev/null || true)
            if [ -n "$was" ] && dpkg --compare-versions "$(dpkg-query -W -f='${Version}' "$there")" lt "$was"; then older="$older $there"; fi
            continue
        fi
        missing="$missing $name"
        beside="$beside $companions"
        : >"$packages/$name/ours"
        [ -z "$at" ] || printf '%s\n' "$at" >"$packages/$name/quieted"
        quiet "$masked" "$at" "$text"
    done
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        name=${name%%/*}
        grep -qxF "$name" "$work/wanted" || unwant "$name"
    done
    # shellcheck disable=SC2086 # names of packages
    [ -z "$older" ] || { get update; get install --only-upgrade --no-install-recommends $older; }
    [ -z "$missing" ] || install_missing
    while IFS=$split read -r name masked _; do
        # Half done by one that was killed, too.
        if [ -n "$masked" ] && [ -e "$packages/$name/ours" ] && [ -L "/etc/systemd/system/$masked" ]; then unmask "$masked"; fi
        there=$name
        [ ! -f "$packages/$name/as" ] || read -r there <"$packages/$name/as"
        dpkg-query -W -f='${Version}\n' "$there" >"$packages/$name/version"
    done <"$work/items"
    rm -f "$work/wanted"
}
# With what the system has in packages of its own: Debian 13 the program `docker`. Nothing is removed for it.
get_missing() {
    companions=
    for one in $beside; do
        [ -z "$(apt-cache search --names-only "^$one\$")" ] || companions="$companions $one"
    done
    # shellcheck disable=SC2086 # names of packages
    get install --no-remove --no-install-recommends $missing $companions
}
install_missing() {
    sync "$packages"
    # What one that was killed left half done.
    [ -z "$(dpkg --audit)" ] || dpkg --force-confdef --force-confold --configure -a </dev/null >&2
    list_installed >"$work/before"
    get_missing 2>/dev/null || { get update; get_missing; }
    list_installed >"$work/after"
    for name in $missing; do
        comm -13 "$work/before" "$work/after" | grep -vxF "$name" | replace "$packages/$name/brought" || true
    done
}
op_packages_delete() {
    for wanted in "$packages"/*/wanted/"$stack"; do
        [ -e "$wanted" ] || continue
        name=${wanted#"$packages/"}
        unwant "${name%%/*}"
    done
}

op_user_put() {
    IFS=$split read -r name folder
    mark="vrooli-deploy $stack"
    if there=$(getent passwd "$name"); then
        if [ "$(printf %s "$there" | cut -d: -f5)" != "$mark" ]; then
            echo "the user \`$name\` was there before, and is not ours" >&2
            return 17
        fi
        case $there in
            *":$folder:/usr/sbin/nologin") ;;
            *) usermod --home "$folder" --shell /usr/sbin/nologin "$name" ;;
        esac
    else
        useradd --system --user-group --no-create-home --home-dir "$folder" --shell /usr/sbin/nologin \
            --comment "$mark" "$name"
    fi
}
op_user_delete() {
    IFS=$split read -r name _
    there=$(getent passwd "$name") || return 0
    [ "$(printf %s "$there" | cut -d: -f5)" = "vrooli-deploy $stack" ] || return 0
    userdel "$name"
    ! getent group "$name" >/dev/null || groupdel "$name"
}

is_ours() {
    case $1 in
        */../* | */..) return 1 ;;
        "$(place "$stack")" | "$(place "$stack")"/*) ;;
        *) return 1 ;;
    esac
}
op_directories_put() {
    install -d -m 755 "$home"
    # Others may pass through, but not look into.
    install -d -m 711 "$workspace" "$workspace/apps" "$workspace/apps/${stack%.*}"
    while IFS=$split read -r path mode owner_name group; do
        is_ours "$path" || { echo "$path is no folder of this app" >&2; return 1; }
        [ ! -L "$path" ] || { echo "$path is a link" >&2; return 1; }
        install -d -m "$mode" -o "$owner_name" -g "$group" "$path"
    done
}
op_directories_delete() {
    tac | while IFS=$split read -r path _; do
        is_ours "$path" || continue
        if [ "$path" = "$(place "$stack")" ]; then
            # What others of ours have in it stays.
            [ ! -d "$path" ] || rmdir --ignore-fail-on-non-empty "$path"
        else
            rm -rf --one-file-system "$path"
        fi
    done
}

wanted_from() { cat "$roles"/*/*/from 2>/dev/null | sort -u; }
# What was reached before we came, but for what has come to be ours.
kept_tcp() {
    wanted_from | cut -d ' ' -f 1 >"$work/ours"
    grep -vxF -f "$work/ours" "$walls/kept-tcp" || true
}
wanted_ports() { cat "$walls"/wanted/* 2>/dev/null | sort -un; }
# Ports that somebody listens on, from elsewhere than this machine: `t` or `u`.
listening() {
    ss -H -l -n "-$1" 2>/dev/null | while read -r _ _ _ address _; do
        case $address in
            127.* | '[::1]':* | '[::ffff:127.'*) ;;
            *) printf '%s\n' "${address##*:}" ;;
        esac
    done | sort -un
}
joined() { sort -un | paste -s -d , -; }
rules() {
    # Whoever logs in must always be able to: by a rule of its own, whatever becomes of the others.
    kept=$({ kept_tcp; sshd -T 2>/dev/null | sed -n 's/^port //p'; } | joined)
    [ -n "$kept" ] || { echo 'nobody says on which port SSH listens' >&2; return 1; }
    wanted=$(wanted_ports | joined)
    [ -z "$wanted" ] || wanted="tcp dport { $wanted } accept"
    from=$(wanted_from | while read -r port address; do
        case $address in
            *:*) printf '    ip6 saddr %s tcp dport %s accept\n' "$address" "$port" ;;
            *) printf '    ip saddr %s tcp dport %s accept\n' "$address" "$port" ;;
        esac
    done)
    udp=$({ printf '68\n546\n'; cat "$walls/kept-udp"; } | joined)
    cat <<END
table inet $table
delete table inet $table
table inet $table {
  chain input {
    type filter hook input priority 10; policy accept;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto != { tcp, udp } accept
    tcp dport { $kept } accept
    $wanted
$from
    udp dport { $udp } accept
    ct state new drop
  }
}
END
}
unit_text() {
    cat <<END
[Unit]
Description=Firewall of vrooli-deploy
DefaultDependencies=no
RequiresMountsFor=$walls
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=nftables.service ufw.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f $walls/rules.nft

[Install]
WantedBy=sysinit.target
END
}
take_table_away() {
    ! has_table || nft delete table inet "$table"
    [ ! -e "/etc/systemd/system/$unit" ] || systemctl disable --quiet --now "$unit"
    rm -f "/etc/systemd/system/$unit" "$walls/rules.nft" "$walls/kept-tcp" "$walls/kept-udp"
}
close_ufw() {
    if [ -f "$walls/ufw-from" ]; then
        cp "$walls/ufw-from" "$work/ufw-from"
        while read -r port address; do
            ! wanted_from | grep -qxF "$port $address" || [ -z "$(ls "$walls/wanted")" ] || continue
            ! ufw_is_on || ufw delete allow from "$address" to any port "$port" proto tcp >/dev/null
            sed -i "/^$port $address\$/d" "$walls/ufw-from"
        done <"$work/ufw-from"
    fi
    [ -f "$walls/ufw" ] || return 0
    for port in $(cat "$walls/ufw"); do
        wanted_ports | grep -qx "$port" && continue
        ! ufw_is_on || ufw delete allow "$port/tcp" >/dev/null
        sed -i "/^$port\$/d" "$walls/ufw"
    done
}
enforce() {
    close_ufw
    if ufw_is_on; then
        take_table_away
        for port in $(wanted_ports); do
            ufw_allowed | grep -qx "$port" && continue
            printf '%s\n' "$port" >>"$walls/ufw"
            ufw allow "$port/tcp" comment vrooli-deploy >/dev/null
        done
        wanted_from >"$work/from"
        while read -r port address; do
            ufw_allows_from | grep -qxF "$port $address" && continue
            printf '%s\n' "$port $address" >>"$walls/ufw-from"
            ufw allow from "$address" to any port "$port" proto tcp comment vrooli-deploy >/dev/null
        done <"$work/from"
        return 0
    fi
    # The rules of somebody else are theirs to change.
    ! others_filter || return 0
    command -v nft >/dev/null || { echo 'there is no nft' >&2; return 1; }
    # What was reached before we came is reached from then on.
    [ -f "$walls/kept-tcp" ] || listening t | replace "$walls/kept-tcp"
    [ -f "$walls/kept-udp" ] || listening u | replace "$walls/kept-udp"
    rules >"$work/rules"
    replace "$walls/rules.nft" <"$work/rules"
    nft -f "$walls/rules.nft"
    if [ -d /run/systemd/system ] && [ ! -L "/etc/systemd/system/sysinit.target.wants/$unit" ]; then
        unit_text | replace "/etc/systemd/system/$unit"
        chmod 644 "/etc/systemd/system/$unit"
        systemctl enable --quiet "$unit"
    fi
}
op_firewall_put() {
    install -d -m 755 "$walls" "$walls/wanted"
    replace "$walls/wanted/$stack"
    enforce
}
op_firewall_delete() {
    rm -f "$walls/wanted/$stack"
    [ -d "$walls" ] || return 0
    if [ -n "$(ls "$walls/wanted" 2>/dev/null)" ]; then
        enforce
    else
        close_ufw
        take_table_away
        rm -rf "$walls"
    fi
}

# What is asked, one after the other.
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
        save) (set -e; "op_${kind}_save" <"$work/items") >"$work/out" 2>"$work/words" 9>&- ;;
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
[ -f "$file" ] || rmdir "$(place "$stack")" "$workspace/apps/${stack%.*}" "$packages" "$record" "$workspace/apps" "$workspace" "$home" 2>/dev/null
survey
