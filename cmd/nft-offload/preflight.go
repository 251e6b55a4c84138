package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
)

// errNotRoot is what a user without privileges gets.
var errNotRoot = errors.New("root is needed (CAP_NET_ADMIN and CAP_BPF): run it with sudo")

// privileged checks the capabilities that every command needs which touches the machine.
func privileged() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if !has(unix.CAP_NET_ADMIN) || !has(unix.CAP_SYS_ADMIN) && !has(unix.CAP_BPF) {
		return withCode(exitPermission, errNotRoot)
	}
	return nil
}

// mountBPFFS makes sure that a bpf file system is where pins go, and mounts one where none is.
func mountBPFFS(point string) error {
	on, err := isBPFFS(point)
	if err != nil || on {
		return err
	}
	refuse := func(why string) error {
		return withCode(exitUnsupported, fmt.Errorf("%w at %s: %s", datapath.ErrNoBPFFS, point, why))
	}
	// A mount in a private mount namespace ends with it, and what is pinned there with it: `ip netns exec` makes one
	// and puts a fresh /sys into it.
	own, err := sameMountNamespace()
	if err != nil {
		return err
	}
	if !own {
		return refuse("this shell has a mount namespace of its own (`ip netns exec`?); use `nft-offload --netns NAME` from outside")
	}
	if err := unix.Mount("bpf", point, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return refuse(fmt.Sprintf("cannot mount one: %v; try `mount -t bpf bpf %s`", err, point))
	}
	return nil
}

func isBPFFS(dir string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	return uint64(st.Type) == unix.BPF_FS_MAGIC, nil
}

func sameMountNamespace() (bool, error) {
	self, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return false, fmt.Errorf("look at own mount namespace: %w", err)
	}
	first, err := os.Stat("/proc/1/ns/mnt")
	if err != nil {
		return true, nil //nolint:nilerr // not visible (hidepid, user namespace): mounting will tell
	}
	return os.SameFile(self, first), nil
}

// prepareMachine is what `run` needs before it may touch anything.
func prepareMachine(p places) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return withCode(exitUnsupported, datapath.ErrNoBTF)
	}
	if err := mountBPFFS(filepath.Dir(p.bpffs)); err != nil {
		return err
	}
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	return nil
}
