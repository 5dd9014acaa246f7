# What a host is. Reads only. Each line: name, a tab, value.
say() { printf '%s\t%s\n' "$1" "$2"; }
say clock "$(date +%s.%N)"
say user "$(id -un)"
say uid "$(id -u)"
say name "$(uname -n)"
say kernel "$(uname -r)"
say architecture "$(uname -m)"
say os_id "$(. /etc/os-release 2>/dev/null; printf %s "${ID-}")"
say os_version "$(. /etc/os-release 2>/dev/null; printf %s "${VERSION_ID-}")"
say os_name "$(. /etc/os-release 2>/dev/null; printf %s "${PRETTY_NAME-}")"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p')"
[ ! -d /run/systemd/system ] || say systemd "$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say memory_free_kib "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say swap_kib "$(sed -n 's/^SwapTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
# The file system that our folder is on, or would be.
home=/var/lib/vrooli-deploy
[ -d "$home" ] || home=/var/lib
df -Pk "$home" 2>/dev/null | {
    read -r _
    read -r _ total _ free _ mount
    say disk_kib "$total"
    say disk_free_kib "$free"
    say disk_mount "$mount"
}
say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
say machine "$(cat /etc/machine-id 2>/dev/null)"
say synchronized "$(timeout 5 timedatectl show -p NTPSynchronized --value 2>/dev/null)"
for address in $(hostname -I 2>/dev/null); do say address "$address"; done
set -- ${SSH_CONNECTION-}
[ $# -lt 3 ] || say address "$3"
as=
if [ "$(id -u)" = 0 ]; then
    say root login
elif why=$(sudo -n true 2>&1); then
    as='sudo -n'
    say root sudo
else
    say root none
    say root_why "$(printf %s "$why" | tr '\n\t' '  ')"
fi
