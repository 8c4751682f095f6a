#!/bin/sh
# Makes an ARM64 root file system with Python 3.11 out of Debian's packages, without a registry of images and without
# running anything in it: `make_base.sh OUT.tar`. The same packages give the same bytes where SOURCE_DATE_EPOCH is set.
set -eu

# Variant `extract` only unpacks, so what the packages' own scripts would have done is done here.
hook='
set -eu
root=$1
ln -sf dash "$root/bin/sh"
ln -sf python3.11 "$root/usr/bin/python3"
mkdir -p "$root/root" "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run"
chmod 1777 "$root/tmp"
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
ldconfig -r "$root"
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/var/cache/apt" "$root/var/lib/apt"
'

exec mmdebstrap --quiet --arch=arm64 --variant=extract \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --extract-hook="$hook" \
    --include=python3.11,libstdc++6,libgomp1,dash,coreutils,base-files,base-passwd,libc-bin \
    --include=sed,grep,findutils,util-linux,mount,tar,gzip,procps \
    bookworm "$1"
