#!/bin/sh
# Measures what work costs on a bare directory, on sessionlockfs and on other file systems that hand everything through,
# installing what is missing:
#
#	scripts/bench.sh [-dir DIR] [-rounds N] [-only WORK,...] [-json FILE] [-svg FILE]
#	scripts/bench.sh -grow        how sessionlockfs grows with locks and clients
#	scripts/bench.sh -lockmgr     the law alone, with benchstat
#
# DIR must be empty. Needs root: only root's mounts can be served by the kernel (passthrough).
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/local/go/bin

say() { echo "bench: $*" >&2; }
. "$here/scripts/packages.sh"

cd "$here"
if [ "${1:-}" = -lockmgr ]; then
	go test -run '^$' -bench . -benchmem -count 6 ./lockmgr | go run golang.org/x/perf/cmd/benchstat@latest /dev/stdin
	exit
fi
have fusermount3 || apt_install fuse3
have gcc || apt_install gcc libc6-dev
have pkg-config || apt_install pkg-config
pkg-config --exists fuse3 || apt_install libfuse3-dev
have bindfs || apt_install bindfs
have mergerfs || apt_install mergerfs
have git || apt_install git
have sqlite3 || apt_install sqlite3

ulimit -n "$(ulimit -Hn)" # passthrough_ll keeps a descriptor for each file
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
go build -o "$built/sessionlockfs" .
go build -o "$built/bench" ./integration/bench
go build -o "$built/loopback" github.com/hanwen/go-fuse/v2/example/loopback
examples=/usr/share/doc/libfuse3-dev/examples
cp "$examples"/passthrough_ll.c* "$examples"/passthrough_helpers.h* "$built"
gunzip -f "$built"/*.gz 2>/dev/null || true
# shellcheck disable=SC2046 # flags are words
gcc -O2 -w -o "$built/passthrough_ll" "$built/passthrough_ll.c" $(pkg-config fuse3 --cflags --libs)

"$built/bench" "$@" \
	"sessionlockfs=$built/sessionlockfs mount --log-level warn {source} {point}" \
	"passthrough_ll=$built/passthrough_ll -f -o source={source} {point}" \
	"loopback=$built/loopback -q {point} {source}" \
	"bindfs=bindfs -f {source} {point}" \
	"mergerfs=mergerfs -f {source} {point}"
