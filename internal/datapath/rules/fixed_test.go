package rules

import (
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func pages(t *testing.T, l tree.Layout, n int) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "fixed", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(l.PageBytes()), MaxEntries: uint32(n), Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestFixedTreesFitIntoTheirPages(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	l, err := tree.NewLayout(32, 16)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 16, 17, 5000} {
		var in []tree.Element
		for i := range uint64(n) {
			in = append(in, tree.Element{First: []uint64{i, 0}, Last: []uint64{i, 9}, Data: uint32(i)})
		}
		if err := fillIntervals(pages(t, l, l.FixedPages(n)), l, in); err != nil {
			t.Errorf("%d elements: %v", n, err)
		}
	}
	if err := fillIntervals(pages(t, l, 2), l, []tree.Element{{First: []uint64{5}}}); err == nil {
		t.Error("an element of other keys is in the tree")
	}
}

func TestFixedTuplesFitIntoTheirPages(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s, err := tuple.NewSpace([]int{32, 16}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 300} {
		var in []tuple.Element
		for i := range uint64(n) {
			// Overlapping addresses, ports that are prefixes.
			net := space.Interval{First: space.Number(i), Last: space.Number(i + 500)}
			in = append(in, tuple.Element{Key: share.Key{net, {First: space.Number(0), Last: space.Number(1<<(i%3+1) - 1)}}, Data: uint32(i)})
		}
		pieces, _, err := s.Count(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := fillTuples(pages(t, s.Layout(), s.FixedPages(2*pieces)), s, in); err != nil {
			t.Errorf("%d elements: %v", n, err)
		}
	}
}
