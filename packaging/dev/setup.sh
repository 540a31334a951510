#!/bin/bash
# Set up this checkout on Debian 12: system packages, .venv, BPF objects. Run it as `make setup`.
#
# It may be run again at any time: when nothing changed it only compares a checksum. It starts no
# service, and where a Docker Engine is installed already it replaces nothing of it.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
readonly root
readonly venv=$root/.venv
readonly stamp=$venv/setup.sha256
readonly policy_rc=/usr/sbin/policy-rc.d
readonly policy_rc_saved=/usr/sbin/policy-rc.d.before-sockwarden
readonly started=$SECONDS

# What must be there, and the Debian package that brings it: "command NAME" is any program of that
# name on PATH (so docker-ce serves as well as docker.io), "package" is the package itself.
readonly needs='
command dockerd          docker.io
command docker           docker.io
command docker-registry  docker-registry
command haproxy          haproxy
command iptables         iptables
command git              git
command make             make
command curl             curl
command openssl          openssl
command clang            clang
command llvm-strip       llvm
command clang-format     clang-format
command shellcheck       shellcheck
command mount            mount
command ps               procps
package busybox-static   busybox-static
package libbpf1          libbpf1
package libbpf-dev       libbpf-dev
package linux-libc-dev   linux-libc-dev
package libc6-dev        libc6-dev
package bpftool          bpftool
package python3-venv     python3-venv
package python3-bpfcc    python3-bpfcc
package ca-certificates  ca-certificates
'
# Units of those packages: installed here only for their programs, so they stay off when we brought them.
readonly units='docker.service docker.socket containerd.service docker-registry.service haproxy.service'

step() { printf '[%s/4] %s\n' "$1" "$2"; }

fail() {
	printf 'setup: %s\n' "$1" >&2
	printf 'setup: what to do: %s\n' "$2" >&2
	exit 1
}

checksum() {
	{
		cat "$root/pyproject.toml" "$0"
		/usr/bin/python3 --version
		find "$root/bpf" -type f \( -name '*.c' -o -name '*.h' -o -name Makefile \) -print0 | sort -z | xargs -0r cat
	} | sha256sum | cut -d' ' -f1
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

bpf_objects_present() {
	[ ! -f "$root/bpf/Makefile" ] || make -s -q -C "$root/bpf" 2>/dev/null
}

restore_policy_rc() {
	if [ -e "$policy_rc_saved" ]; then
		mv -f "$policy_rc_saved" "$policy_rc"
	elif [ -e "$policy_rc" ] && grep -q 'written by sockwarden' "$policy_rc"; then
		rm -f "$policy_rc"
	fi
}

forbid_service_starts() {
	restore_policy_rc # an earlier run may have been killed
	[ ! -e "$policy_rc" ] || mv "$policy_rc" "$policy_rc_saved"
	trap restore_policy_rc EXIT
	printf '#!/bin/sh\n# written by sockwarden for the time of its set-up: no service starts\nexit 101\n' >"$policy_rc"
	chmod 755 "$policy_rc"
}

quietly() { # runs a command, and shows what it said only when it fails
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	[ $status -eq 0 ] || tail -n 40 "$log" >&2
	rm -f "$log"
	return $status
}

install_packages() {
	local -a packages=("$@")
	local unit
	local -a fresh_units=()
	export DEBIAN_FRONTEND=noninteractive
	for unit in $units; do
		systemctl cat "$unit" >/dev/null 2>&1 || fresh_units+=("$unit")
	done
	forbid_service_starts
	quietly apt-get -q update ||
		fail 'apt-get update failed (see above)' 'check the network and /etc/apt/sources.list, then run make setup again'
	quietly apt-get -q -y -o Dpkg::Options::=--force-confold --no-install-recommends install "${packages[@]}" ||
		fail 'apt-get install failed (see above)' 'repair apt (apt-get -f install), then run make setup again'
	restore_policy_rc
	trap - EXIT
	for unit in "${fresh_units[@]}"; do
		systemctl disable "$unit" >/dev/null 2>&1 || true # no systemd here: nothing would start it either
	done
}

[ "$(id -u)" -eq 0 ] || fail 'this must run as root' "run 'sudo make setup' or log in as root"
command -v apt-get >/dev/null ||
	fail 'this is not a Debian system: there is no apt-get' 'use Debian 12 (the Vagrantfile in this folder brings one)'
if [ -x /usr/bin/python3 ] && ! /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	fail "$(/usr/bin/python3 --version) is too old" 'use Debian 12 or later: Python 3.11 is needed'
fi

missing=$(missing_packages)
wanted=none
[ ! -x /usr/bin/python3 ] || wanted=$(checksum)
if [ -z "$missing" ] && [ -x "$venv/bin/sockwarden" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && bpf_objects_present; then
	echo 'setup: nothing to do'
	exit 0
fi

if [ -n "$missing" ]; then
	step 1 "system packages: $(echo "$missing" | tr '\n' ' ')"
	# shellcheck disable=SC2086 # one word per package
	install_packages $missing
else
	step 1 'system packages: all there'
fi

step 2 'virtual environment .venv'
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
	quietly /usr/bin/python3 -m venv --clear --system-site-packages "$venv" ||
		fail 'the virtual environment could not be made (see above)' 'apt-get install python3-venv, then run make setup again'
fi

step 3 'Python packages: sockwarden itself (editable), the tests and the linters'
(cd "$root" && quietly "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test,lint]') ||
	fail 'pip install failed (see above)' 'check the network, then run make setup again'

if [ -f "$root/bpf/Makefile" ]; then
	step 4 'BPF objects'
	quietly make -s -C "$root/bpf" || fail 'the BPF objects do not build (see above)' "run 'make -C bpf' to see it alone"
else
	step 4 'BPF objects: no sources in this tree'
fi

[ -x "$venv/bin/sockwarden" ] || fail '.venv/bin/sockwarden is not there' 'remove .venv and run make setup again'
checksum >"$stamp"
echo "setup: done in $((SECONDS - started)) s; the program is .venv/bin/sockwarden"
