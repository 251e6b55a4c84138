#!/bin/sh
# Regenerates everything in a copy of the tree and compares. A copy elsewhere also shows that no path gets into the result.
set -eu
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -cf - --exclude=./.git --exclude=./bin . | tar -xf - -C "$copy"
(cd "$copy" && go generate ./...)
if ! diff -rq --exclude=.git --exclude=bin . "$copy"; then
	echo "check-generated.sh: generated files differ from their sources: run make generate and commit the result" >&2
	exit 1
fi
