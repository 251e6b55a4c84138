package rules

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
)

// Intervals are the elements of a set with intervals in its map, a search tree. Methods may be called from any
// goroutine.
type Intervals struct {
	arena  *Arena
	report func(error)

	mu      sync.Mutex
	table   *tuple.Table
	waiting bool // for programs to end
	done    sync.WaitGroup
}

// NewIntervals takes over a map, which must be empty or looked into by no program. The map stays the caller's to close,
// after Close. Report gets what went wrong between changes; nothing is lost then but time.
func NewIntervals(s tuple.Space, m *ebpf.Map, report func(error)) (*Intervals, error) {
	a, err := OpenArena(m)
	if err != nil {
		return nil, err
	}
	t, err := tuple.New(a.Cells(), s, a.Grace)
	if err != nil {
		_ = a.Close()
		return nil, fmt.Errorf("make a table of intervals in %v: %w", m, err)
	}
	return &Intervals{arena: a, table: t, report: report}, nil
}

// Apply takes elements out and puts others in. Packets see the set as it was before or as it is behind the change. The
// errors are those of tuple.Table; behind one, the set is as it was. It waits for no program to end unless changes come
// so fast that all pages are in use.
func (i *Intervals) Apply(gone, come []tuple.Element) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.table.Apply(gone, come); err != nil {
		return err
	}
	i.reclaim()
	return nil
}

// Fill puts elements in the place of all there are.
func (i *Intervals) Fill(elements []tuple.Element) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.table.Fill(elements, false); err != nil {
		return err
	}
	i.reclaim()
	return nil
}

// reclaim makes pages that changes have left usable again, in the background, when a good part waits for it.
func (i *Intervals) reclaim() {
	t := i.table.Tree()
	if waiting, spare := t.Waiting(); i.waiting || waiting < spare/4 {
		return
	}
	i.waiting = true
	mark := t.Mark()
	i.done.Go(func() {
		err := i.arena.Grace()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.waiting = false
		if err != nil {
			i.report(err)
			return
		}
		t.Release(mark)
	})
}

// Len is the number of intervals in the map. An element of a concatenation may be several.
func (i *Intervals) Len() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.table.Tree().Len()
}

// Close ends the care for the map, which keeps what it has.
func (i *Intervals) Close() error {
	i.done.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.arena.Close()
}
