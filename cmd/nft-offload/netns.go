package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// namespace returns the inode of the calling thread's network namespace.
func namespace() (uint64, error) { return namespaceAt("/proc/thread-self/ns/net") }

func namespaceAt(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("look at network namespace %s: %w", path, err)
	}
	return st.Ino, nil
}

// namespacePath turns the value of --netns into a path: names are those of ip-netns(8).
func namespacePath(s string) string {
	if strings.ContainsRune(s, '/') {
		return s
	}
	return filepath.Join("/run/netns", s)
}

// enterNamespace moves the process into a network namespace. setns(2) moves one thread, so the program is started
// anew from there: execve(2) makes the calling thread the only one. Unlike `ip netns exec` this keeps the mount
// namespace, and with it the bpf file system.
func enterNamespace(path string) error {
	want, err := namespaceAt(path)
	if err != nil {
		return withCode(exitUsage, fmt.Errorf("enter network namespace: %w; see `ip netns list`", err))
	}
	have, err := namespace()
	if err != nil || have == want {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	// Not unlocked: the thread is replaced, or unusable.
	runtime.LockOSThread()
	err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	if errors.Is(err, unix.EINVAL) {
		return usage("enter network namespace: %s is not one; see `ip netns list`", path)
	}
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	if err := unix.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("start again in network namespace %s: %w", path, err)
	}
	return nil
}
