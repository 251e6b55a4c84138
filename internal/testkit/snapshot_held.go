package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Held are the eBPF objects of one owner, by id: what must be gone after it has withdrawn. Ids are not used again for
// long, so other tests' objects do not disturb.
type Held struct {
	programs map[ebpf.ProgramID]bool
	maps     map[ebpf.MapID]bool
	links    map[link.ID]bool
}

// Holding lists the maps and links that are pinned below a bpffs directory, the programs of these links and of the
// namespaces' devices, and the maps of these programs.
func Holding(dir string, ns ...*NS) (Held, error) {
	h := Held{map[ebpf.ProgramID]bool{}, map[ebpf.MapID]bool{}, map[link.ID]bool{}}
	if err := h.pinned(dir); err != nil {
		return h, fmt.Errorf("list eBPF objects pinned in %s: %w", dir, err)
	}
	for _, n := range ns {
		if err := n.Do(h.attached); err != nil {
			return h, fmt.Errorf("list eBPF programs in %s: %w", n.Name, err)
		}
	}
	for id := range h.programs {
		if err := h.used(id); err != nil {
			return h, fmt.Errorf("list maps of eBPF program %d: %w", id, err)
		}
	}
	return h, nil
}

// String counts the objects.
func (h Held) String() string {
	return fmt.Sprintf("%d programs, %d maps, %d links", len(h.programs), len(h.maps), len(h.links))
}

func (h Held) pinned(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if m, err := ebpf.LoadPinnedMap(path, nil); err == nil {
			defer m.Close() //nolint:errcheck // only read
			info, err := m.Info()
			if err != nil {
				return err
			}
			id, _ := info.ID()
			h.maps[id] = true
			return nil
		}
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return err
		}
		defer l.Close() //nolint:errcheck // only read
		info, err := l.Info()
		if err != nil {
			return err
		}
		h.links[info.ID] = true
		h.programs[info.Program] = true
		return nil
	})
}

// attached adds the filters of the calling thread's namespace: those have no links.
func (h Held) attached() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, err := netlink.FilterList(l, parent)
			if err != nil {
				return err
			}
			for _, f := range filters {
				if b, ok := f.(*netlink.BpfFilter); ok {
					h.programs[ebpf.ProgramID(b.Id)] = true
				}
			}
		}
	}
	return nil
}

func (h Held) used(id ebpf.ProgramID) error {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	defer p.Close() //nolint:errcheck // only read
	info, err := p.Info()
	if err != nil {
		return err
	}
	maps, _ := info.MapIDs()
	for _, m := range maps {
		h.maps[m] = true
	}
	return nil
}

// AwaitGone returns nil as soon as none of the objects exists any more. The kernel frees them after RCU grace periods,
// so this may take a moment; when timeout passes, the error names one that is still there.
func (h Held) AwaitGone(timeout time.Duration) error {
	return Await(timeout, func() error {
		for id := range h.links {
			l, err := link.NewFromID(id)
			if err := gone(l, err, "link", uint32(id)); err != nil {
				return err
			}
		}
		for id := range h.programs {
			p, err := ebpf.NewProgramFromID(id)
			if err := gone(p, err, "program", uint32(id)); err != nil {
				return err
			}
		}
		for id := range h.maps {
			m, err := ebpf.NewMapFromID(id)
			if err := gone(m, err, "map", uint32(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// gone judges the attempt to open an object that should not exist.
func gone(object interface{ Close() error }, err error, kind string, id uint32) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = object.Close()
	}
	return errors.Join(fmt.Errorf("eBPF %s %d is still there", kind, id), err)
}
