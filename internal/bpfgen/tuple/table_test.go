package tuple

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func newTable(t testing.TB, s Space, elements int, grace func() error) *Table {
	t.Helper()
	table, err := New(make([]uint32, s.Pages(elements)*s.Layout().PageBytes()/4), s, grace)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestRandomChangesAsInAList compares with a list of elements that do not overlap.
func TestRandomChangesAsInAList(t *testing.T) {
	r := random(t)
	s := newSpace(t, []int{6, 5}, 1)
	table := newTable(t, s, 1000, nil)
	have := map[uint32]share.Key{}
	owner := map[[2]uint64]uint32{} // of each key
	came, went := 0, 0
	for n := range uint32(3000) {
		a, b := r.Uint64N(64), r.Uint64N(32)
		key := share.Key{iv(a, min(63, a+r.Uint64N(4))), iv(b, min(31, b+r.Uint64N(6)))}
		come := []Element{{key, n}}
		overlap := false
		for _, k := range have {
			overlap = overlap || meet(k, key)
		}
		var gone []Element
		for _, old := range slices.Sorted(maps.Keys(have)) {
			if r.IntN(10) == 0 {
				gone = append(gone, Element{have[old], old})
			}
		}
		if overlap {
			come = nil // what the table says of these depends on the tuples
		}
		if err := table.Apply(gone, come); err != nil {
			t.Fatal(err)
		}
		for _, e := range gone {
			delete(have, e.Data)
			went++
		}
		if come != nil {
			have[n] = key
			came++
		}
		clear(owner)
		for d, k := range have {
			for x := k[0].First.Lo; x <= k[0].Last.Lo; x++ {
				for y := k[1].First.Lo; y <= k[1].Last.Lo; y++ {
					owner[[2]uint64{x, y}] = d
				}
			}
		}
		for range 50 {
			x, y := r.Uint64N(64), r.Uint64N(32)
			want, there := owner[[2]uint64{x, y}]
			if got, ok := table.Lookup([]uint64{x, y}); ok != there || ok && got != want {
				t.Fatalf("%d . %d is %d (%t), not %d (%t)", x, y, got, ok, want, there)
			}
		}
	}
	t.Logf("%d came, %d went, %d tuples", came, went, table.Tuples())
}

func meet(a, b share.Key) bool {
	for i := range a {
		if a[i].Last.Compare(b[i].First) < 0 || b[i].Last.Compare(a[i].First) < 0 {
			return false
		}
	}
	return true
}

func TestTuplesAreUsedAgainAfterGrace(t *testing.T) {
	s := newSpace(t, []int{32, 16}, 0)
	graces := 0
	table := newTable(t, s, 1000, func() error { graces++; return nil })
	port := func(free int) Element { return Element{Key: share.Key{iv(1, 2), iv(0, 1<<free-1)}, Data: uint32(free)} }
	for free := range MaxTuples {
		if err := table.Apply(nil, []Element{port(free)}); err != nil {
			t.Fatal(err)
		}
	}
	if graces != 0 {
		t.Errorf("%d graces for tuples that nobody had", graces)
	}
	if err := table.Apply(nil, []Element{port(16)}); !is[*LimitError](err) {
		t.Fatalf("a tuple too many: %v", err)
	}
	// In one change the old element's tuple is not free yet.
	if err := table.Apply([]Element{port(3)}, []Element{port(16)}); !is[*LimitError](err) {
		t.Fatalf("a tuple too many: %v", err)
	}
	if err := table.Apply([]Element{port(3)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := table.Apply(nil, []Element{port(16)}); err != nil {
		t.Fatal(err)
	}
	if graces < 2 {
		t.Errorf("%d graces, not 2", graces)
	}
	if got, ok := table.Lookup([]uint64{1, 65535}); !ok || got != 16 {
		t.Errorf("%d (%t)", got, ok)
	}
	if table.Tuples() != MaxTuples {
		t.Errorf("%d tuples", table.Tuples())
	}
	if err := table.Apply([]Element{port(3)}, nil); !is[*tree.MissingError](err) {
		t.Errorf("an element that is gone: %v", err)
	}
}

func TestFillCutsOverlapsOnlyWhereAsked(t *testing.T) {
	s := newSpace(t, []int{32, 16}, 0)
	table := newTable(t, s, 100, nil)
	in := []Element{{share.Key{iv(10, 20), iv(80, 80)}, 5}, {share.Key{iv(15, 30), iv(80, 80)}, 2}, {share.Key{iv(0, 99), iv(64, 127)}, 9}}
	if err := table.Fill(in, false); !is[*tree.OverlapError](err) {
		t.Fatalf("overlapping elements: %v", err)
	}
	if err := table.Fill(in, true); err != nil {
		t.Fatal(err)
	}
	var got []uint32
	for _, a := range []uint64{9, 10, 14, 15, 30, 31, 100} {
		data, ok := table.Lookup([]uint64{a, 80})
		if !ok {
			data = 0
		}
		got = append(got, data)
	}
	if want := []uint32{9, 5, 5, 2, 2, 9, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
