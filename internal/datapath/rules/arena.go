package rules

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Arena is the memory of an array map (BPF_F_MMAPABLE), in which package tree keeps its pages.
type Arena struct {
	memory []byte
	cells  []uint32
	grace  *grace
}

// OpenArena maps a map into this process. The map stays the caller's to close; its memory lives for as long as either
// does.
func OpenArena(m *ebpf.Map) (*Arena, error) {
	used := int(m.ValueSize()) * int(m.MaxEntries())
	page := os.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (used+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of %v: %w", m, err)
	}
	// Mappings begin at a page, and values of maps are multiples of 8 bytes.
	cells := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(memory))), used/int(unsafe.Sizeof(uint32(0))))
	return &Arena{memory: memory, cells: cells, grace: &grace{}}, nil
}

// Cells are the memory. They must not be touched after Close.
func (a *Arena) Cells() []uint32 { return a.cells }

// Grace returns when all programs that were running have ended.
func (a *Arena) Grace() error { return a.grace.wait() }

// Close gives the memory back.
func (a *Arena) Close() error {
	a.cells = nil
	return errors.Join(a.grace.close(), unix.Munmap(a.memory))
}

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h, which is synchronize_rcu(): programs run within it.
const membarrierGlobal = 1

// grace waits for programs to end.
type grace struct {
	mu sync.Mutex // for outer and inner
	// outer is a map of maps: where membarrier(2) is not to be had (nohz_full), the kernel waits for programs when
	// an element of such a map changes.
	outer, inner *ebpf.Map
}

func (g *grace) wait() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.outer == nil {
		_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
		if errno == 0 {
			return nil
		}
		if err := g.open(); err != nil {
			return fmt.Errorf("wait for programs to end: membarrier: %w; make a map of maps: %w", errno, err)
		}
	}
	if err := g.outer.Put(uint32(0), g.inner); err != nil {
		return fmt.Errorf("wait for programs to end: change a map of maps: %w", err)
	}
	return nil
}

func (g *grace) open() (err error) {
	spec := &ebpf.MapSpec{Name: "nfo_grace", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if g.inner, err = ebpf.NewMap(spec); err != nil {
		return err
	}
	g.outer, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "nfo_grace", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: spec,
	})
	return err
}

func (g *grace) close() error {
	var errs []error
	for _, m := range []*ebpf.Map{g.outer, g.inner} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
