package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
)

// namespace is a network namespace without a name: the kernel removes it, and every device in it, when the process
// ends in whatever way.
type namespace struct {
	label  string
	handle netns.NsHandle
}

// newNamespace makes a network namespace. The calling goroutine must be locked to its thread, which stays where it was.
func newNamespace(label string) (*namespace, error) {
	here, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("find own namespace: %w", err)
	}
	defer here.Close() //nolint:errcheck // a descriptor for reading
	h, err := netns.New()
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", label, err)
	}
	if err := netns.Set(here); err != nil {
		return nil, fmt.Errorf("leave namespace %s: %w", label, err)
	}
	return &namespace{label: label, handle: h}, nil
}

// do runs f inside the namespace, on the calling thread, to which the goroutine must be locked.
func (n *namespace) do(f func() error) error {
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find own namespace: %w", err)
	}
	defer here.Close() //nolint:errcheck // a descriptor for reading
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n.label, err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return fmt.Errorf("leave namespace %s: %w", n.label, back)
	}
	return err
}

func (n *namespace) close() error { return n.handle.Close() }

// sysctl sets a sysctl of the namespace of the calling thread, named as under /proc/sys with slashes.
func sysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

// onOwnThread runs f on an OS thread of its own, which ends with f: a changed namespace or affinity never leaks.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends such a thread
		done <- f()
	}()
	return <-done
}
