package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	private, err := privateMounts()
	if err != nil {
		return err
	}
	if private {
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

// privateMounts reports whether the process was started into a mount namespace that is not its ancestors'.
// Ancestors that do not let themselves be looked at do not count.
func privateMounts() (bool, error) {
	self, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return false, fmt.Errorf("look at own mount namespace: %w", err)
	}
	for pid := os.Getppid(); pid > 0; pid = parentOf(pid) {
		if ns, err := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err == nil && !os.SameFile(self, ns) {
			return true, nil
		}
	}
	return false, nil
}

// parentOf returns the parent of a process, 0 where there is none to be seen.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may contain anything; behind it come the state and the parent (proc_pid_stat(5)).
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(f[1])
	if err != nil {
		return 0
	}
	return ppid
}

// prepareMachine is what `run` needs before it may touch anything.
func prepareMachine(p places) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return withCode(exitUnsupported, fmt.Errorf("%w: boot one that has it, as those of distributions do", datapath.ErrNoBTF))
	}
	if err := mountBPFFS(filepath.Dir(p.bpffs)); err != nil {
		return err
	}
	return nil
}
