#!/bin/sh
# Installs what the given groups lack, and nothing else: quiet when nothing is missing.
#
#   scripts/deps.sh run|test|vm|lint|generate ...
#
# With apt and root it installs; otherwise it names the packages and exits 1.
set -eu

# Debian keeps nft, ip and tc in sbin, which is not on every user's PATH.
PATH="$PATH:/usr/sbin:/sbin"

# One line for each need: group, Debian package, and the command or file that shows it is there.
needs() {
	cat <<-LIST
		run      nftables          nft
		run      iproute2          ip
		run      iproute2          tc
		test     ethtool           ethtool
		test     iputils-ping      ping
		vm       qemu-system-x86   qemu-system-x86_64
		vm       seabios           /usr/share/seabios/bios-256k.bin
		vm       busybox-static    busybox
		vm       kmod              depmod
		vm       cpio              cpio
		vm       xz-utils          xz
		lint     clang-format-19   clang-format-19
		lint     shellcheck        shellcheck
		generate clang-19          clang-19
		generate llvm-19           llvm-strip-19
		generate libbpf-dev        /usr/include/bpf/bpf_helpers.h
		generate linux-libc-dev    /usr/include/linux/bpf.h
	LIST
}

# present NAME: a path exists, or a command is on PATH.
present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# missing GROUP...: the packages that are not there, each once, in order.
missing() {
	needs | while read -r group package proof; do
		for want in "$@"; do
			if [ "$want" = "$group" ] && ! present "$proof"; then
				echo "$package"
			fi
		done
	done | uniq
}

groups=
for g in "$@"; do
	case $g in
	run | vm | lint | generate) groups="$groups $g" ;;
	test) groups="$groups run test" ;;
	*)
		echo "deps.sh: unknown group '$g': use run, test, vm, lint or generate" >&2
		exit 2
		;;
	esac
done
if [ -z "$groups" ]; then
	echo "usage: scripts/deps.sh run|test|vm|lint|generate ..." >&2
	exit 2
fi

# shellcheck disable=SC2086 # groups and packages are lists of plain words
packages=$(missing $groups | tr '\n' ' ')
packages=${packages% }
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps.sh: this machine has no apt: please install what these Debian packages hold: $packages" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "deps.sh: missing packages; run: sudo apt-get install --no-install-recommends $packages" >&2
	exit 1
fi

echo "deps.sh: installing $packages" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
quietly() {
	"$@" >"$log" 2>&1 </dev/null || {
		cat "$log" >&2
		echo "deps.sh: $1 $2 failed; wanted: $packages" >&2
		exit 1
	}
}
quietly apt-get update
# shellcheck disable=SC2086
quietly apt-get install -y --no-install-recommends $packages

# shellcheck disable=SC2086
left=$(missing $groups | tr '\n' ' ')
if [ -n "$left" ]; then
	echo "deps.sh: still missing after the installation: $left" >&2
	exit 1
fi
