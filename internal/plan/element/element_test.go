package element

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

func TestList_Elements_ComeBackAsAdded(t *testing.T) {
	at := time.Unix(100, 0)
	plain := []Element{{First: []byte{1, 2}}, {First: []byte{3, 4}}}
	ranged := []Element{{First: []byte{1, 2}, Last: []byte{1, 9}}, {First: []byte{3, 4}, Last: []byte{3, 4}}}
	mixed := []Element{
		{First: []byte{1, 2}},
		{First: []byte{2, 2}, Last: []byte{2, 9}},
		{First: []byte{3, 3}, End: true},
		{First: []byte{4, 4}, Verdict: "jump", Chain: "c", Expires: at, Stateful: true},
		{Verdict: "drop"},
	}
	for name, want := range map[string][]Element{"plain": plain, "ranged": ranged, "mixed": mixed, "none": nil, "*": {{Verdict: "drop"}}} {
		var l List
		for _, e := range want {
			if !l.Add(e) {
				t.Errorf("%s: %v is left out", name, e)
			}
		}
		got := slices.Collect(l.All())
		for i, e := range got {
			if bytes.Equal(e.First, e.Last) && want[i].Last == nil {
				got[i].Last = nil // single keys may have a last one
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if l.Len() != len(want) {
			t.Errorf("%s: %d elements", name, l.Len())
		}
	}
}

func TestList_KeysOfOtherLength_AreLeftOut(t *testing.T) {
	var l List
	l.Add(Element{First: []byte{1, 2}})
	for _, e := range []Element{{First: []byte{1}}, {First: []byte{1, 2}, Last: []byte{1}}} {
		if l.Add(e) {
			t.Errorf("%v is in", e)
		}
	}
	if l.Len() != 1 {
		t.Errorf("%d elements", l.Len())
	}
	var empty List
	if empty.Add(Element{First: []byte{}}) {
		t.Error("a key of no bytes is in")
	}
}

// Against the kernel's way of looking: the highest point that is not above the key decides, and where an interval ends
// another may begin.
func TestList_Join_FindsWhatTheKernelFinds(t *testing.T) {
	const seed = 9
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 3000 {
		begins, ends := map[byte]bool{}, map[byte]bool{}
		var l List
		for range r.IntN(12) {
			key, end := byte(r.IntN(20)*13), r.IntN(2) == 0
			if set := map[bool]map[byte]bool{false: begins, true: ends}[end]; !set[key] {
				set[key] = true
				l.Add(Element{First: []byte{key}, End: end})
			}
		}
		joined := l.Join()
		for key := range 256 {
			want := false
			for at := key; at >= 0; at-- {
				if begins[byte(at)] || ends[byte(at)] {
					want = begins[byte(at)]
					break
				}
			}
			got := 0
			for e := range joined.All() {
				if int(e.First[0]) <= key && key <= int(e.Last[0]) {
					got++
				}
			}
			if (got == 1) != want || got > 1 {
				t.Fatalf("seed %d, round %d: %d is in %d intervals, want %v; begins %v, ends %v", seed, round, key, got, want, begins, ends)
			}
		}
	}
}

func TestList_Join_TellsOfStrayEnds(t *testing.T) {
	for points, want := range map[string]bool{"": false, "0e": false, "0e 1b 5e": false, "1b 5e 6e": true, "3e": true, "1b": false} {
		var l List
		for p := range bytes.FieldsSeq([]byte(points)) {
			l.Add(Element{First: []byte{p[0] - '0'}, End: p[1] == 'e'})
		}
		if got := l.Join().Strays(); got != want {
			t.Errorf("%q: %v, want %v", points, got, want)
		}
	}
}

func TestWords_Keys_AreNumbersOfTheirComponents(t *testing.T) {
	for _, x := range []struct {
		parts []share.Part
		key   string
		want  []uint64
	}{
		{[]share.Part{{Bits: 32}}, "\x0a\x00\x00\x01", []uint64{0x0a000001}},
		{[]share.Part{{Bits: 32, Host: true}}, "\x0a\x00\x00\x01", []uint64{0x0100000a}},
		{[]share.Part{{Bits: 16}}, "\x00\x50", []uint64{80}},
		{[]share.Part{{Bits: 16}}, "\x00\x50\x00\x00", []uint64{80}},
		{[]share.Part{{Bits: 8}}, "\x06", []uint64{6}},
		{[]share.Part{{Bits: 48}}, "\x02\x00\x00\x00\x00\x01", []uint64{0x020000000001}},
		{[]share.Part{{Bits: 128}}, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05", []uint64{0x20010db800000000, 5}},
		{[]share.Part{{Bits: 48}, {Bits: 16}}, "\x02\x00\x00\x00\x00\x01\x00\x00\x00\x50\x00\x00", []uint64{0x020000000001, 80}},
		{[]share.Part{{Bits: 16, Host: true}, {Bits: 8}}, "\x50\x00\x00\x00\x06\x00\x00\x00", []uint64{80, 6}},
		{[]share.Part{{Bits: 12}}, "\x0f\xff", []uint64{4095}},
	} {
		got, ok := Words(nil, x.parts, []byte(x.key), false)
		if !ok || !slices.Equal(got, x.want) || Count(x.parts) != len(x.want) {
			t.Errorf("%v %x: got %x, %v, %d words, want %x", x.parts, x.key, got, ok, Count(x.parts), x.want)
		}
	}
}

func TestWords_KeysOfOtherSizes_AreRefused(t *testing.T) {
	for _, x := range []struct {
		parts []share.Part
		key   string
	}{
		{[]share.Part{{Bits: 32}}, ""},
		{[]share.Part{{Bits: 32}}, "\x01\x02\x03"},
		{[]share.Part{{Bits: 32}}, "\x01\x02\x03\x04\x05"},
		{[]share.Part{{Bits: 12}}, "\x10\x00"},
		{[]share.Part{{Bits: 6}}, "\x40"},
		{[]share.Part{{Bits: 32}, {Bits: 16}}, "\x01\x02\x03\x04\x05\x06"},
		{[]share.Part{{Bits: 100}}, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x05"},
	} {
		if got, ok := Words(nil, x.parts, []byte(x.key), false); ok {
			t.Errorf("%v %x: %x", x.parts, x.key, got)
		}
	}
}

func TestHighest_Parts_HaveAllBitsSet(t *testing.T) {
	got := Highest(nil, []share.Part{{Bits: 12}, {Bits: 64}, {Bits: 100}, {Bits: 128}})
	all := ^uint64(0)
	if want := []uint64{0xfff, all, all >> 28, all, all, all}; !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestGeneration_Before_WrapsAround(t *testing.T) {
	for _, x := range []struct {
		read   Generation
		commit uint32
		want   bool
	}{{5, 5, false}, {5, 6, true}, {5, 4, false}, {0xffff, 0x10000, true}, {0, 0xffff, false}, {0xfffe, 0x2fffe, false}} {
		if got := x.read.Before(x.commit); got != x.want {
			t.Errorf("%d before %d: %v", x.read, x.commit, got)
		}
	}
}

func TestBelow_Keys_AreOneLess(t *testing.T) {
	for key, want := range map[uint32]string{0: "", 1: "00000000", 256: "000000ff", 1 << 24: "00ffffff"} {
		if got := fmt.Sprintf("%x", Below(binary.BigEndian.AppendUint32(nil, key))); got != want {
			t.Errorf("%d: %s, want %s", key, got, want)
		}
	}
}

// A list is what a million elements cost while they are read.
func BenchmarkList_Add(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var l List
				for i := range n {
					l.Add(Element{First: binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(i))})
				}
			}
		})
	}
}
