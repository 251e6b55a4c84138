// Package vm runs test programs under other kernels: it boots a Debian kernel in QEMU, on the host's own file system,
// and brings back exit statuses, output and the kernel's complaints. Tests only.
//
// The way of a suite through the package:
//
//  1. [Suite.Build] compiles the test packages once. [Fetch] and [FetchPackages] get kernels and programs from Debian's
//     archive once and keep them in a cache outside the repository.
//  2. [Program.On] makes a [Job] of the suite: one boot, one [Command] a group.
//  3. The initramfs (busybox, five modules, init.sh) mounts the host's / read-only over 9p under a tmpfs overlay, so the
//     guest sees the host's Go, nft, tc and test binaries at their own paths, writes to none of them, and hands over to
//     the job's script.
//  4. The script runs each command and frames its output on the second serial line; the kernel's messages
//     have the first serial line to themselves.
//  5. [Run] reads the frames while they arrive and ends its own QEMU, and only that, when the time is up.
//  6. Each test of the guest becomes a subtest; what they have proven ([testkit.Proved]) becomes the [Matrix].
//
// There is no hardware acceleration: the CPU is emulated, and times measured inside mean nothing.
// The guest has no network device; tests make theirs.
package vm
