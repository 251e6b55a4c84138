#!/bin/sh
# Runs every linter; all of them even when one complains. With --fix the formatters change the files.
# golangci-lint is built once for a version, from the sources that tools/go.mod pins, into the user's cache.
set -eu
cd "$(dirname "$0")/.."

cache=${NFT_OFFLOAD_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/nft-offload}
version=$(cd tools && go list -m -f '{{.Version}}' github.com/golangci/golangci-lint/v2)
linter=$cache/golangci-lint-$version-$(go env GOVERSION)

if [ ! -x "$linter" ]; then
	echo "lint.sh: building golangci-lint $version (once, some minutes)" >&2
	mkdir -p "$cache"
	(cd tools && go build -o "$linter.$$" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
	mv "$linter.$$" "$linter"
fi

# C sources of ours; generated and third-party ones are not in there.
c_sources() { find internal/datapath/bpf \( -name '*.c' -o -name '*.h' \) 2>/dev/null; }

if [ "${1-}" = --fix ]; then
	"$linter" fmt
	c_sources | xargs -r clang-format-19 -i
	exit 0
fi

failed=0
"$linter" run ./... || failed=1
for f in $(c_sources); do
	if ! clang-format-19 --dry-run --Werror "$f" 2>/dev/null; then
		echo "$f: not formatted: run make format"
		failed=1
	fi
done
shellcheck scripts/*.sh .ci/run internal/testkit/vm/init.sh || failed=1
exit $failed
