package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// objects are the eBPF objects of one datapath, by id: other tests of the machine have their own.
type objects struct {
	maps     []ebpf.MapID
	programs []ebpf.ProgramID
}

// objects finds what is pinned for the daemon's namespace, and the programs behind the links.
func (b *bed) objects() objects {
	b.t.Helper()
	var o objects
	err := b.amongPins(func() (err error) {
		o, err = pinnedObjects(b.d.Pins())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// amongPins runs f where the daemon's bpf file system is.
func (b *bed) amongPins(f func() error) error {
	if b.mounts != nil {
		return b.mounts.do(f)
	}
	return f()
}

func pinnedObjects(dir string) (objects, error) {
	var o objects
	entries, err := os.ReadDir(dir)
	if err != nil {
		return o, fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		pin := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
		case strings.HasPrefix(e.Name(), "link-"):
			err = o.link(pin)
		default:
			err = o.mapAt(pin)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return o, fmt.Errorf("look at pin %s: %w", pin, err)
		}
	}
	return o, nil
}

func (o *objects) link(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return err
	}
	info, err := l.Info()
	if err == nil {
		o.programs = append(o.programs, info.Program)
	}
	return errors.Join(err, l.Close())
}

func (o *objects) mapAt(pin string) error {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return err
	}
	info, err := m.Info()
	if err == nil {
		id, _ := info.ID()
		o.maps = append(o.maps, id)
	}
	return errors.Join(err, m.Close())
}

// living returns an error that names what still exists.
func (o objects) living() error {
	for _, id := range o.maps {
		m, err := ebpf.NewMapFromID(id)
		if err == nil {
			return errors.Join(fmt.Errorf("map %d still exists", id), m.Close())
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, id := range o.programs {
		p, err := ebpf.NewProgramFromID(id)
		if err == nil {
			return errors.Join(fmt.Errorf("program %d still exists", id), p.Close())
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// settle is how long the kernel may take to free objects: RCU grace periods.
const settle = 10 * time.Second

// nothingLeft checks that a datapath is gone: its pins, and the objects that were seen before.
func (b *bed) nothingLeft(pins string, before objects) {
	b.t.Helper()
	err := b.amongPins(func() error {
		_, err := os.Stat(pins)
		return err
	})
	if !errors.Is(err, os.ErrNotExist) {
		b.t.Errorf("the pins are left: %s (%v)", pins, err)
	}
	if len(before.maps) == 0 {
		b.t.Error("there was nothing before") // or the check above would be of no worth
	}
	if err := testkit.Await(settle, before.living); err != nil {
		b.t.Error(err)
	}
}
