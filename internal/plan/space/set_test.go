package space

import (
	"math/rand/v2"
	"testing"
)

// width is small enough to look at every value.
const width = 8

func randomSet(r *rand.Rand) Set {
	var ivs []Interval
	for range r.IntN(5) {
		a := uint64(r.IntN(256))
		ivs = append(ivs, Interval{Number(a), Number(min(255, a+uint64(r.IntN(40))))})
	}
	return SetOf(ivs)
}

func randomMask(r *rand.Rand) Mask {
	bits := Number(uint64(r.IntN(256)))
	return Mask{bits, Number(uint64(r.IntN(256))).And(bits)}
}

func has(m Mask, v uint64) bool { return Number(v).And(m.Bits) == m.Want }

// TestSetsAgreeWithTheirValues compares each operation with what it does to each of the 256 values.
func TestSetsAgreeWithTheirValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		a, b := randomSet(r), randomSet(r)
		disjoint, within := true, true
		for v := range uint64(256) {
			inA, inB := a.Contains(Number(v)), b.Contains(Number(v))
			disjoint = disjoint && (!inA || !inB)
			within = within && (!inA || inB)
			if a.Meet(b).Contains(Number(v)) != (inA && inB) || a.Join(b).Contains(Number(v)) != (inA || inB) || a.Not(width).Contains(Number(v)) == inA {
				t.Fatalf("value %d of %v and %v", v, a, b)
			}
		}
		if a.Disjoint(b) != disjoint || a.Within(b) != within || a.Empty() != (len(a) == 0) {
			t.Fatalf("%v and %v: disjoint %v, within %v", a, b, a.Disjoint(b), a.Within(b))
		}
		masks, ok := a.Masks(width, 256, r.IntN(2) == 0)
		if !ok {
			t.Fatalf("%v has no masks", a)
		}
		for v := range uint64(256) {
			n := 0
			for _, m := range masks {
				if has(m, v) {
					n++
				}
			}
			if n > 1 || (n == 1) != a.Contains(Number(v)) {
				t.Fatalf("value %d is in %d of the masks of %v: %v", v, n, a, masks)
			}
		}
	}
}

func TestMasksAgreeWithTheirValues(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 3000 {
		m, n, s := randomMask(r), randomMask(r), randomSet(r)
		in, ok := m.intervals(width)
		meets, disjoint := false, true
		for v := range uint64(256) {
			meets = meets || has(m, v) && s.Contains(Number(v))
			disjoint = disjoint && (!has(m, v) || !has(n, v))
			if ok && in.Contains(Number(v)) != has(m, v) {
				t.Fatalf("value %d of %v: %v", v, m, in)
			}
			want, found := uint64(0), false
			for w := v; w < 256 && !found; w++ {
				want, found = w, has(m, w)
			}
			if got, ok := m.atLeast(Number(v), width); ok != found || ok && got != Number(want) {
				t.Fatalf("%v from %d: %v, %v, want %d, %v", m, v, got, ok, want, found)
			}
		}
		if m.meets(s, width) != meets || m.disjoint(n) != disjoint {
			t.Fatalf("%v: meets %v %v, disjoint from %v %v", m, s, m.meets(s, width), n, m.disjoint(n))
		}
	}
}

func TestValuesOf128Bits(t *testing.T) {
	top := Highest(128)
	all := Set{{Value{}, top}}
	if !all.Not(128).Empty() || len(Set(nil).Not(128)) != 1 {
		t.Error("the complement of all values is not empty")
	}
	a := Span(Bytes([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), Bytes([]byte{0x20, 1, 0xd, 0xb8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}))
	masks, ok := a.Masks(128, 8, false)
	if !ok || len(masks) != 1 {
		t.Fatalf("a prefix of 32 bits is %d masks", len(masks))
	}
	if n, ok := masks[0].Length(128); !ok || n != 32 {
		t.Errorf("the prefix is %d bits long, %v", n, ok)
	}
	if len(a.Not(128)) != 2 || !a.Disjoint(a.Not(128)) || !a.Join(a.Not(128)).Within(all) {
		t.Error("a prefix and its complement are not all values")
	}
	if v := Name("eth0"); string(v.Bytes(16)[:4]) != "eth0" || v.next().prev() != v {
		t.Error("a name does not come back")
	}
}
