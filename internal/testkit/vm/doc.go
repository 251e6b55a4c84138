// Package vm runs test programs under other kernels: it boots a Debian kernel in QEMU, on the host's own file system,
// and brings back exit statuses, output and the kernel's complaints. Tests only.
//
// The way of a job through the package:
//
//  1. [Fetch] gets the kernel's Debian package once and keeps its image and modules in a cache outside the repository.
//  2. The initramfs (busybox, five modules, init.sh) mounts the host's / read-only over 9p under a tmpfs overlay, so the
//     guest sees the host's Go, nft, tc and test binaries at their own paths, writes to none of them, and hands over to
//     the job's script.
//  3. The script runs each [Command] and frames its output on the second serial line; the kernel's messages
//     have the first serial line to themselves.
//  4. [Run] reads the frames while they arrive and ends its own QEMU, and only that, when the time is up.
//
// There is no hardware acceleration: the CPU is emulated, and times measured inside mean nothing.
// The guest has no network device; tests make theirs.
package vm
