#!/bin/sh
# Makes a Debian package of what is checked out, in DIR (default: .), and says its name:
#
#	scripts/package.sh [DIR]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
to=$(cd "${1:-.}" && pwd)
PATH=$PATH:/usr/local/go/bin
# 2.43: later ones need modules that the Go proxy does not have.
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0

cd "$here"
version=$(git describe --tags --match 'v*' 2>/dev/null || echo "v0.0.0-$(git rev-list --count HEAD)")
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$built/sessionlockfs" .
mkdir "$built/man"
"$built/sessionlockfs" man "$built/man"
gzip -9n "$built"/man/*
for shell in bash zsh fish; do
	"$built/sessionlockfs" completion "$shell" >"$built/completion.$shell"
done
BUILT=$built VERSION=$version ARCH=$(go env GOARCH) go run "$nfpm" package --packager deb --config scripts/deb/nfpm.yaml --target "$to" >&2
ls "$to"/sessionlockfs_*.deb
