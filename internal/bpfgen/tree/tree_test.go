package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// widths are the keys of the tests: an address, few keys, a MAC address, a number of 64 bits, ip . port behind a tuple,
// IPv6, ip6 . port, and the widest.
func widths() [][]int {
	return [][]int{{32}, {12}, {48}, {64}, {8, 32, 16}, {64, 64}, {64, 64, 16}, {64, 64, 64, 64, 64, 64, 64, 64}}
}

func newLayout(t testing.TB, bits []int) Layout {
	t.Helper()
	l, err := NewLayout(bits...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// model is the slow obvious one: elements in order.
type model []Element

// randomElement makes an interval. Half of them lie in few keys, so that they meet.
func randomElement(r *rand.Rand, l Layout) Element {
	key := make([]uint64, l.words)
	for i := range key {
		switch r.IntN(8) {
		case 0:
			key[i] = l.top(i)
		case 1, 2, 3:
			key[i] = r.Uint64N(4) & l.top(i)
		default:
			key[i] = r.Uint64() & l.top(i)
		}
	}
	last, low := slices.Clone(key), l.words-1
	switch r.IntN(4) {
	case 0:
		last[low] = min(l.top(low), last[low]+r.Uint64N(1<<min(l.Bits(low)-1, 20)))
		last[low] = max(last[low], key[low])
	case 1:
		last[low] |= 7 & l.top(low)
		key[low] &^= 7
	}
	return Element{First: key, Last: last, Data: r.Uint32()}
}

func (m model) at(e Element) int {
	i, _ := slices.BinarySearchFunc(m, e, func(a, b Element) int { return slices.Compare(a.First, b.First) })
	return i
}

func (m model) overlaps(e Element) bool {
	i := m.at(e)
	return i > 0 && slices.Compare(m[i-1].Last, e.First) >= 0 || i < len(m) && slices.Compare(m[i].First, e.Last) <= 0
}

func (m model) insert(e Element) model { return slices.Insert(m, m.at(e), e) }

func (m model) lookup(key []uint64) (uint32, bool) {
	i := m.at(Element{First: key})
	if i < len(m) && slices.Equal(m[i].First, key) {
		return m[i].Data, true
	}
	if i > 0 && slices.Compare(m[i-1].Last, key) >= 0 {
		return m[i-1].Data, true
	}
	return 0, false
}

// probe is a key that says something: the ends of an element and their neighbours.
func (m model) probe(r *rand.Rand, l Layout) []uint64 {
	if len(m) == 0 {
		return randomElement(r, l).First
	}
	e := m[r.IntN(len(m))]
	switch r.IntN(5) {
	case 0:
		return e.First
	case 1:
		return e.Last
	case 2:
		return l.before(e.First)
	case 3:
		if k := l.after(e.Last); k != nil {
			return k
		}
	}
	return randomElement(r, l).First
}

// same says what is wrong with a tree.
func (t *Tree) same(m model, r *rand.Rand) error {
	if t.len != len(m) {
		return fmt.Errorf("%d elements, not %d", t.len, len(m))
	}
	i := 0
	for e := range t.All() {
		if i >= len(m) || !slices.Equal(e.First, m[i].First) || !slices.Equal(e.Last, m[i].Last) || e.Data != m[i].Data {
			return fmt.Errorf("element %d is %v", i, e)
		}
		i++
	}
	if i != len(m) {
		return fmt.Errorf("only %d elements of %d", i, len(m))
	}
	for range 50 {
		key := m.probe(r, t.layout)
		data, ok := t.Lookup(key)
		if want, there := m.lookup(key); data != want || ok != there {
			return fmt.Errorf("%x is %d (%t), not %d (%t)", key, data, ok, want, there)
		}
	}
	return t.sound()
}

// sound says what is wrong with the pages: their order, the records behind the last, or pages that nobody has.
func (t *Tree) sound() error {
	seen := map[uint32]bool{}
	if r := t.root(); r.page != 0 {
		if err := t.soundBelow(r, seen); err != nil {
			return err
		}
	}
	live := len(seen)
	for _, p := range slices.Concat(t.free, t.limbo) {
		if seen[p] {
			return fmt.Errorf("page %d is in use twice", p)
		}
		seen[p] = true
	}
	if want := int(t.next - t.first); len(seen) != want {
		return fmt.Errorf("%d pages are known, %d in the tree, of %d", len(seen), live, want)
	}
	return nil
}

func (t *Tree) soundBelow(at root, seen map[uint32]bool) error {
	s, n := t.shape(at.height), int(t.used[at.page])
	if seen[at.page] || n == 0 || n > s.records {
		return fmt.Errorf("page %d has %d records, seen %t", at.page, n, seen[at.page])
	}
	seen[at.page] = true
	for i := n; i < s.records; i++ {
		if !slices.Equal(t.record(at.page, s, i), t.record(at.page, s, n-1)) {
			return fmt.Errorf("page %d: record %d is not as the last", at.page, i)
		}
	}
	for i := range n {
		if at.height == 0 {
			continue
		}
		below := t.child(at.page, i)
		if !slices.Equal(t.record(at.page, s, i)[:t.keyCells], t.record(below, s, 0)[:t.keyCells]) {
			return fmt.Errorf("page %d: record %d is not the lowest key below", at.page, i)
		}
		if err := t.soundBelow(root{below, at.height - 1}, seen); err != nil {
			return err
		}
	}
	return nil
}

func newTree(t testing.TB, l Layout, elements int) *Tree {
	t.Helper()
	tr, err := New(make([]uint32, (l.Pages(elements)+2)*l.PageBytes()/cell), l, Options{Reserved: 2})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestRandomChangesAsInASlice(t *testing.T) {
	for _, bits := range widths() {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			l, r := newLayout(t, bits), random(t)
			tr := newTree(t, l, 3000)
			var m model
			for n := range 12000 {
				// First more come than go, then more go.
				if e := randomElement(r, l); r.IntN(12000) > n {
					err := tr.Insert(e)
					if over := new(OverlapError); errors.As(err, &over) != m.overlaps(e) || err != nil && over.Element.Data != e.Data {
						t.Fatalf("insert %v: %v", e, err)
					}
					if err == nil {
						m = m.insert(e)
					}
				} else if len(m) > 0 {
					i := r.IntN(len(m))
					if err := tr.Delete(m[i].First, m[i].Last); err != nil {
						t.Fatal(err)
					}
					m = slices.Delete(m, i, i+1)
				}
				if n%500 == 0 {
					if err := tr.same(m, r); err != nil {
						t.Fatalf("after %d changes: %v", n, err)
					}
				}
			}
			for len(m) > 0 {
				i := r.IntN(len(m))
				if err := tr.Delete(m[i].First, m[i].Last); err != nil {
					t.Fatal(err)
				}
				m = slices.Delete(m, i, i+1)
			}
			if err := tr.same(m, r); err != nil || tr.Bytes() != 0 {
				t.Fatalf("empty: %d bytes: %v", tr.Bytes(), err)
			}
		})
	}
}

// TestReadersOfBeforeSeeBefore has a reader that read the root before some changes and searches after them.
func TestReadersOfBeforeSeeBefore(t *testing.T) {
	for _, bits := range widths() {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			l, r := newLayout(t, bits), random(t)
			tr := newTree(t, l, 1000)
			graces := 0
			tr.grace = func() error { graces++; return nil }
			var m model
			for range 300 {
				old, oldRoot, began := slices.Clone(m), tr.root(), graces
				for range 1 + r.IntN(10) {
					m = batch(t, tr, m, r)
				}
				if graces != began {
					continue // no reader is left
				}
				for range 30 {
					key := old.probe(r, l)
					data, ok := tr.lookup(oldRoot, key)
					if want, there := old.lookup(key); data != want || ok != there {
						t.Fatalf("%x was %d (%t), the reader has %d (%t)", key, want, there, data, ok)
					}
				}
			}
			if err := tr.same(m, r); err != nil {
				t.Fatal(err)
			}
			if graces == 0 && len(bits) < 8 {
				t.Log("never waited for a reader")
			}
		})
	}
}

// batch is a random batch.
func batch(t *testing.T, tr *Tree, m model, r *rand.Rand) model {
	t.Helper()
	var gone, come []Element
	after := slices.Clone(m)
	for range r.IntN(5) {
		if len(after) > 0 && r.IntN(3) == 0 {
			i := r.IntN(len(after))
			if !slices.ContainsFunc(come, func(e Element) bool { return slices.Equal(e.First, after[i].First) }) {
				gone = append(gone, after[i])
				after = slices.Delete(after, i, i+1)
			}
			continue
		}
		if e := randomElement(r, tr.layout); !after.overlaps(e) {
			come = append(come, e)
			after = after.insert(e)
		}
	}
	if err := tr.Apply(gone, come); err != nil {
		t.Fatal(err)
	}
	return after
}

func TestBuildOfAMillion(t *testing.T) {
	for _, bits := range [][]int{{32}, {64, 64}} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			l, r := newLayout(t, bits), random(t)
			m := make(model, 1_000_000)
			for i := range m {
				first := make([]uint64, l.words)
				first[0] = uint64(i) * 4096
				last := slices.Clone(first)
				last[l.words-1] += r.Uint64N(4096)
				m[i] = Element{First: first, Last: last, Data: uint32(i)}
			}
			tr := newTree(t, l, len(m))
			start := time.Now()
			if err := tr.Build(slices.Values(m)); err != nil {
				t.Fatal(err)
			}
			built := time.Since(start)
			if err := tr.same(m, r); err != nil {
				t.Fatal(err)
			}
			if tr.Bytes() > l.FixedPages(len(m))*l.PageBytes() {
				t.Errorf("%d bytes, FixedPages says %d", tr.Bytes(), l.FixedPages(len(m))*l.PageBytes())
			}
			start = time.Now()
			for range 1000 {
				i := r.IntN(len(m))
				e := m[i]
				e.Data = r.Uint32()
				if err := tr.Apply([]Element{m[i]}, []Element{e}); err != nil {
					t.Fatal(err)
				}
				m[i] = e
			}
			t.Logf("built in %v, height %d, %d bytes an element, %v a change", built, tr.root().height, tr.Bytes()/len(m), time.Since(start)/1000)
			if err := tr.same(m, r); err != nil {
				t.Fatal(err)
			}
			m = m[:1000]
			if err := tr.Build(slices.Values(m)); err != nil {
				t.Fatal(err)
			}
			if err := tr.same(m, r); err != nil {
				t.Fatalf("built again: %v", err)
			}
		})
	}
}

func TestElementsInOrderFillTheirPages(t *testing.T) {
	l := newLayout(t, []int{32})
	tr := newTree(t, l, 100_000)
	for i := range uint64(100_000) {
		if err := tr.Insert(Element{First: []uint64{i}, Last: []uint64{i}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := tr.Bytes() / tr.Len(); n > l.Leaf().Stride+1 {
		t.Errorf("%d bytes an element, its record has %d", n, l.Leaf().Stride)
	}
}
