#!/bin/bash
# Install what `make vm` needs besides `make setup`: an emulator, and what builds kernels' and root disks.
#
# It may be run again at any time: when nothing is missing it does nothing. The disks themselves are built
# by tests/vm/images.py when a row first needs them.
set -euo pipefail

# What must be there, and the Debian package that brings it.
readonly needs='
command qemu-system-x86_64     qemu-system-x86
command mmdebstrap             mmdebstrap
command mke2fs                 e2fsprogs
command busybox                busybox-static
command cc                     gcc
package libc6-dev              libc6-dev
package debian-archive-keyring debian-archive-keyring
'

fail() {
	printf 'setup-vm: %s\n' "$1" >&2
	printf 'setup-vm: what to do: %s\n' "$2" >&2
	exit 1
}

missing_packages() {
	local kind name package
	while read -r kind name package; do
		case $kind in
		command) command -v "$name" >/dev/null || echo "$package" ;;
		package) [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$package" ;;
		esac
	done <<<"$needs" | sort -u
}

[ "$(id -u)" -eq 0 ] || fail 'this must run as root' "run 'sudo make vm' or log in as root"
[ "$(uname -m)" = x86_64 ] || fail "there is no row for $(uname -m)" 'run it on x86-64'
PATH=$PATH:/usr/sbin:/sbin
missing=$(missing_packages)
if [ -z "$missing" ]; then
	echo 'setup-vm: nothing to do'
	exit 0
fi
echo "setup-vm: installing $(echo "$missing" | tr '\n' ' ')"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word per package
if ! { apt-get -q update && apt-get -q -y --no-install-recommends install $missing; } >"$log" 2>&1 </dev/null; then
	tail -n 40 "$log" >&2
	fail 'apt-get failed (see above)' 'check the network and /etc/apt, then run make vm again'
fi
