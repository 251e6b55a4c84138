package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// leaseOfRules is where package rules pins the map that all its programs read, if there are any.
const leaseOfRules = "rules/lease"

// Abandoned reports whether nothing of what is pinned in the directory is on a device any more, nor held by a daemon as far as the
// kernel tells: the network namespace is gone, or at least every device in it that the datapath ran on. Where nothing was
// ever attached it says no.
func Abandoned(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("list %s: %w", dir, err)
	}
	filters, links := false, false
	for _, e := range entries {
		switch kind, _, _ := strings.Cut(e.Name(), "-"); kind {
		case "clsact":
			filters = true
		case "link":
			on, err := onDevice(filepath.Join(dir, e.Name()))
			if err != nil || on {
				return false, err
			}
			links = true
		}
	}
	if filters && !links { // pinned links keep their programs
		is, err := used(filepath.Join(dir, "control"))
		if is || err != nil {
			return false, err
		}
		// A device that only has a front has no program of ours.
		is, err = used(filepath.Join(dir, leaseOfRules))
		if errors.Is(err, os.ErrNotExist) {
			return true, nil
		}
		return !is, err
	}
	return links && !filters, nil
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

// used reports whether there is a program with the pinned map: a filter's, in whichever namespace, or a daemon's. The
// kernel does not say where a filter is.
func used(pin string) (bool, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", pin, err)
	}
	defer m.Close() //nolint:errcheck // nothing was written
	info, err := m.Info()
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", pin, err)
	}
	want, _ := info.ID()
	for id := ebpf.ProgramID(0); ; {
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("list programs: %w", err)
		}
		maps, err := mapsOf(id)
		if err != nil {
			return false, fmt.Errorf("look at program %d: %w", id, err)
		}
		if slices.Contains(maps, want) {
			return true, nil
		}
	}
}

// mapsOf lists a program's maps; none of one that is gone.
func mapsOf(id ebpf.ProgramID) ([]ebpf.MapID, error) {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer p.Close() //nolint:errcheck // nothing was written
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	maps, _ := info.MapIDs()
	return maps, nil
}
