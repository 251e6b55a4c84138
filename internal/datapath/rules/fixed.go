package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
)

// fillIntervals writes a search tree that does not change: elements that are disjoint and in order.
func fillIntervals(m *ebpf.Map, l tree.Layout, elements []tree.Element) error {
	return inArena(m, l, func(cells []uint32) error {
		t, err := tree.New(cells, l, tree.Options{})
		if err != nil {
			return err
		}
		return t.Build(slices.Values(elements))
	})
}

// fillTuples writes a table of tuples that does not change. Elements may overlap: the lowest data counts.
func fillTuples(m *ebpf.Map, s tuple.Space, elements []tuple.Element) error {
	return inArena(m, s.Layout(), func(cells []uint32) error {
		t, err := tuple.New(cells, s, nil)
		if err != nil {
			return err
		}
		return t.Fill(elements, true)
	})
}

// inArena maps the memory of a map that no program looks into yet, for as long as f needs it.
func inArena(m *ebpf.Map, l tree.Layout, f func(cells []uint32) error) error {
	if int(m.ValueSize()) != l.PageBytes() {
		return fmt.Errorf("a map with values of %d bytes, not %d", m.ValueSize(), l.PageBytes())
	}
	a, err := OpenArena(m)
	if err != nil {
		return err
	}
	return errors.Join(f(a.Cells()), a.Close())
}
