#!/bin/busybox sh
# shellcheck shell=dash
# First process of the guest: puts the host's file system under a writable overlay and hands over to the job.
# A failure ends PID 1; the kernel panics, and panic=-1 ends the machine.
set -e
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /lower /upper /root
$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
while read -r module; do
	$bb insmod "/modules/$module"
done </modules.order

p9=trans=virtio,version=9p2000.L,msize=1048576,cache=loose
$bb mount -t 9p -o $p9,ro host /lower
$bb mount -t tmpfs -o size=50% tmpfs /upper
$bb mkdir /upper/data /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root

$bb mkdir -p /root/lib/modules /root/proc /root/sys /root/dev /root/run /root/vm-job
$bb mount -t 9p -o $p9,ro modules /root/lib/modules
$bb mount -t 9p -o $p9,ro job /root/vm-job
$bb mount -t proc proc /root/proc
$bb mount -t sysfs sysfs /root/sys
$bb mount -t bpf bpf /root/sys/fs/bpf
$bb mount -t tracefs tracefs /root/sys/kernel/tracing
$bb mount -t devtmpfs dev /root/dev
$bb mkdir -p /root/dev/pts
$bb mount -t devpts devpts /root/dev/pts
$bb mount -t tmpfs tmpfs /root/run
# Not chroot: the kernel's own modprobe calls start at the root of PID 1's mount namespace.
exec $bb switch_root /root /bin/sh /vm-job/run.sh
