#!/bin/sh
# Runs each fuzz target of the repository for a while, one after the other: scripts/fuzz.sh 10s
set -eu
cd "$(dirname "$0")/.."

# Lines of "PACKAGE DIRECTORY"; a package without fuzz targets prints nothing below.
go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do
	find "$dir" -maxdepth 1 -name '*_test.go' -exec sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' {} + |
		while read -r target; do
			echo "fuzz $pkg $target"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" "$pkg" </dev/null
		done
done
