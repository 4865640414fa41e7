#!/usr/bin/env bash
# The context of the Dockerfile: binary/shipway, the rest of the image `shipway` in root/, what its user owns in home/.
#
#   context.sh [FOLDER] [BINARY]   else target/image, and the release's static binary
#
# The shell is Debian's busybox-static, the certificate authorities are those of this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 022
folder=${1:-target/image}
binary=${2:-target/x86_64-unknown-linux-gnu/release/shipway}
authorities=/etc/ssl/certs/ca-certificates.crt

fail() { echo "context.sh: $*" >&2; exit 1; }
[ -x "$binary" ] || fail "there is no $binary; \`make release\` makes it"
[ -r $authorities ] || fail "there is no $authorities; install ca-certificates"
busybox=$(command -v busybox) || fail 'there is no busybox; install busybox-static'
! ldd "$busybox" > /dev/null 2>&1 || fail "$busybox is not static; install busybox-static"

root=$folder/root
[ ! -e "$folder" ] || [ -d "$root" ] || fail "$folder is there, and was not made by this script"
rm -rf "$folder"
mkdir -p "$root"/{bin,usr/bin,etc/ssl/certs} "$folder/home/shipway" "$folder/binary"
install -d -m 1777 "$root/tmp"

strip -o "$folder/binary/shipway" "$binary"
# A binary that is not static, as tests have it, brings along what it is linked with.
for library in $(ldd "$binary" 2> /dev/null | grep -oE '/[^ )]+'); do install -D "$library" "$root$library"; done

install "$busybox" "$root/bin/busybox"
for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"; done
# what scripts name by its path
ln -s ../../bin/busybox "$root/usr/bin/env"

install -m 644 $authorities "$root/etc/ssl/certs/ca-certificates.crt"
printf '%s\n' 'root:x:0:0:root:/:/bin/sh' 'shipway:x:10001:10001:shipway:/home/shipway:/bin/sh' > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'shipway:x:10001:' > "$root/etc/group"
