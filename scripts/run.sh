#!/bin/sh
# Builds sessionlockfs and mounts it over DIR, installing what is missing:
#
#	scripts/run.sh DIR     mount over DIR and return; a second time it says that it is mounted
#	scripts/run.sh         show what it does on a directory made for that, and leave nothing behind
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

say() { echo "run: $*" >&2; }
. "$(dirname "$0")/packages.sh"

# need COMMAND PACKAGE: install the Debian package that brings a command.
need() {
	have "$1" || apt_install "$2"
}

PATH=$PATH:/usr/local/go/bin
if ! have go; then
	say "Go is missing: install it from https://go.dev/dl, or with apt-get install golang"
	exit 1
fi
need fusermount3 fuse3
if [ "$(id -u)" != 0 ] && [ ! -w /dev/fuse ]; then # udev would have done it
	as_root chmod 666 /dev/fuse
fi
binary=$here/sessionlockfs
(cd "$here" && go build -o "$binary" .)

if [ $# -eq 0 ]; then
	need node nodejs
	exec node "$here/scripts/demo.mjs" "$binary"
fi

mkdir -p "$1"
status=0
"$binary" mount --background "$1" || status=$?
if [ "$status" = 4 ] && "$binary" locks "$1" >/dev/null 2>&1; then
	status=0
fi
[ "$status" = 0 ] || exit "$status"
"$binary" locks "$1"
say "see who holds what:  $binary locks $1"
say "end it:              $binary unmount $1"
