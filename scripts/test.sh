#!/bin/sh
# Installs what the tests need and runs them all. Arguments go to the test of the real
# mounts, for example: scripts/test.sh -run Scenario16
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin

deps=$(timeout 15m scripts/deps.sh) # a registry may give no answer
eval "$deps"

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "not gofmt-ed: $unformatted" >&2
	exit 1
fi
go vet ./...
go test -timeout 10m -race ./lockmgr/... ./reclaim/... ./fsnode/... ./internal/... .
cd integration # here go test shows the table of scenarios also when all is well
go test -count=1 -timeout 20m -parallel 4 "$@"
