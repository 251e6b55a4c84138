package rules

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func arena(t *testing.T, l tree.Layout, pages int) (*ebpf.Map, *Arena) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "arena", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(l.PageBytes()), MaxEntries: uint32(pages), Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenArena(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		_ = m.Close()
	})
	return m, a
}

func TestArenaIsTheMapsMemory(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	l, err := tree.NewLayout(32)
	if err != nil {
		t.Fatal(err)
	}
	// Not a whole number of the machine's pages.
	m, a := arena(t, l, 131)
	if want := 131 * l.PageBytes() / 4; len(a.Cells()) != want {
		t.Fatalf("%d cells, not %d", len(a.Cells()), want)
	}
	tr, err := tree.New(a.Cells(), l, tree.Options{Grace: a.Grace})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Insert(tree.Element{First: []uint64{0xa000000}, Last: []uint64{0xa0000ff}, Data: 7}); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, l.PageBytes())
	if err := m.Lookup(uint32(1), &page); err != nil {
		t.Fatal(err)
	}
	if want := []byte{0, 0, 0, 10, 255, 0, 0, 10, 7, 0, 0, 0}; !slices.Equal(page[:12], want) {
		t.Errorf("the map has % x, not % x", page[:12], want)
	}
}

func TestGraceWaitsWithMembarrierAndWithout(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	g := &grace{}
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if g.outer == nil {
		if err := g.open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
}
