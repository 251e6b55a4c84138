package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
)

// Abandoned reports whether the links that are pinned in the directory have all lost their devices: the network namespace is gone, or at least
// every device in it that the datapath ran on. Where no link is pinned it says no, and so it does where filters stand in
// for links (before Linux 6.6), which cannot be found from another namespace.
func Abandoned(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("list %s: %w", dir, err)
	}
	found := false
	for _, e := range entries {
		switch kind, _, _ := strings.Cut(e.Name(), "-"); kind {
		case "clsact":
			return false, nil
		case "link":
			on, err := onDevice(filepath.Join(dir, e.Name()))
			if err != nil || on {
				return false, err
			}
			found = true
		}
	}
	return found, nil
}

// onDevice reports whether a pinned link is on a device.
func onDevice(pin string) (bool, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // removed just now
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", pin, err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", pin, err)
	}
	if x := info.XDP(); x != nil {
		return x.Ifindex != 0, nil
	}
	if x := info.TCX(); x != nil {
		return x.Ifindex != 0, nil
	}
	return true, nil // not one of ours
}
