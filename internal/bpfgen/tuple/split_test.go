package tuple

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func newSpace(t testing.TB, bits []int, ranged int) Space {
	t.Helper()
	s, err := NewSpace(bits, ranged)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// iv is an interval of numbers.
func iv(first, last uint64) space.Interval {
	return space.Interval{First: space.Number(first), Last: space.Number(last)}
}

func TestPrefixesCoverAnIntervalOnce(t *testing.T) {
	const bits = 6
	for first := range uint64(1 << bits) {
		for last := first; last < 1<<bits; last++ {
			var got []uint64
			for _, p := range prefixes(iv(first, last), bits) {
				for v := p.interval.First.Lo; v <= p.interval.Last.Lo; v++ {
					got = append(got, v)
				}
				if n := p.interval.Last.Lo - p.interval.First.Lo + 1; n != 1<<p.free || p.interval.First.Lo%n != 0 {
					t.Fatalf("%d-%d: %v is no prefix", first, last, p)
				}
			}
			if len(got) != int(last-first)+1 || got[0] != first || !slices.IsSorted(got) {
				t.Fatalf("%d-%d: %v", first, last, got)
			}
		}
	}
}

func TestPrefixesOfWideNumbers(t *testing.T) {
	top := space.Value{Hi: 1<<64 - 1, Lo: 1<<64 - 1}
	for _, c := range []struct {
		iv   space.Interval
		bits int
		want int
	}{
		{space.Interval{Last: top}, 128, 1},
		{space.Interval{First: space.Number(1), Last: top}, 128, 128},
		{space.Interval{First: space.Value{Lo: 1<<64 - 1}, Last: space.Value{Hi: 1}}, 128, 2},
		{iv(0, 1<<64-1), 64, 1},
		{iv(1, 1<<64-2), 64, 126},
		{iv(1, 65534), 16, 30},
		{iv(7, 7), 16, 1},
	} {
		if got := len(prefixes(c.iv, c.bits)); got != c.want {
			t.Errorf("%v of %d bits: %d prefixes, not %d", c.iv, c.bits, got, c.want)
		}
	}
}

func TestOrderPutsTheRangedComponentLast(t *testing.T) {
	for _, c := range []struct {
		bits   []int
		ranged int
		order  []int
		layout []int
	}{
		{[]int{32}, 0, []int{0}, []int{32}},
		{[]int{128}, 0, []int{0, 1}, []int{64, 64}},
		{[]int{32, 16}, 0, []int{1, 0}, []int{8, 16, 32}},
		{[]int{32, 16}, 1, []int{0, 1}, []int{8, 32, 16}},
		{[]int{16, 128, 8}, 1, []int{0, 3, 1, 2}, []int{8, 16, 8, 64, 64}},
		{[]int{72, 128, 8}, 2, []int{0, 1, 2, 3, 4}, []int{8, 8, 64, 64, 64, 8}},
	} {
		s := newSpace(t, c.bits, c.ranged)
		var layout []int
		for w := range s.Layout().Words() {
			layout = append(layout, s.Layout().Bits(w))
		}
		if !slices.Equal(s.Order(), c.order) || !slices.Equal(layout, c.layout) {
			t.Errorf("%v over %d: order %v, layout %v; not %v, %v", c.bits, c.ranged, s.Order(), layout, c.order, c.layout)
		}
	}
	for _, bits := range [][]int{{}, {32, 32}, {129, 8}, {128, 128, 128, 128}, {0, 8}} {
		if _, err := NewSpace(bits, 2); err == nil {
			t.Errorf("%v is a space", bits)
		}
	}
}

func TestRangedIsTheComponentOfMostPrefixLengths(t *testing.T) {
	bits := []int{32, 16}
	net := func(n int) space.Interval { return iv(10<<24, 10<<24+1<<n-1) }
	for name, c := range map[string]struct {
		keys []share.Key
		want int
	}{
		"none":                    {nil, 0},
		"networks and ports":      {[]share.Key{{net(8), iv(80, 80)}, {net(16), iv(443, 443)}}, 0},
		"addresses and ranges":    {[]share.Key{{net(0), iv(80, 90)}, {net(0), iv(1, 1000)}}, 1},
		"one length of each":      {[]share.Key{{net(8), iv(80, 80)}}, 0},
		"one network, many ports": {[]share.Key{{net(8), iv(1, 65534)}, {net(16), iv(7, 9)}}, 1},
	} {
		if got := Ranged(bits, c.keys); got != c.want {
			t.Errorf("%s: %d, not %d", name, got, c.want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	s := newSpace(t, []int{16, 16, 16, 32}, 3)
	wide := iv(1, 65534)
	if _, err := s.Split(share.Key{wide, wide, wide, iv(0, 1)}, 0); !is[*LimitError](err) {
		t.Errorf("27,000 pieces: %v", err)
	}
	for _, key := range []share.Key{
		{iv(0, 0), iv(0, 0), iv(0, 0)},
		{iv(0, 0), iv(0, 0), iv(0, 1<<16), iv(0, 0)},
		{iv(0, 0), iv(0, 0), iv(0, 0), iv(0, 1<<32)},
		{iv(5, 4), iv(0, 0), iv(0, 0), iv(0, 0)},
	} {
		if _, err := s.Split(key, 0); !is[*KeyError](err) {
			t.Errorf("%v: %v", key, err)
		}
	}
}

func TestPiecesHaveTheKeysOfTheElement(t *testing.T) {
	r := random(t)
	s := newSpace(t, []int{4, 5, 3}, 1)
	for range 200 {
		var key share.Key
		for _, n := range s.bits {
			a, b := r.Uint64N(1<<n), r.Uint64N(1<<n)
			key = append(key, iv(min(a, b), max(a, b)))
		}
		pieces, err := s.Split(key, 7)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(1 << 12) {
			words := []uint64{n >> 8, n >> 3 & 31, n & 7}
			want := 0
			if inside(key, words) {
				want = 1
			}
			if got := holders(s, pieces, words); got != want {
				t.Fatalf("%v of %v is in %d pieces, not %d", words, key, got, want)
			}
		}
	}
}

func inside(key share.Key, words []uint64) bool {
	for i, iv := range key {
		if words[i] < iv.First.Lo || words[i] > iv.Last.Lo {
			return false
		}
	}
	return true
}

// holders is how many pieces have a key, as the program compares it.
func holders(s Space, pieces []Piece, words []uint64) (n int) {
	for _, p := range pieces {
		own := make([]uint64, len(words))
		for i, w := range s.Order() {
			own[i] = words[w] & p.Masks[i]
		}
		if slices.Compare(p.Element.First, own) <= 0 && slices.Compare(own, p.Element.Last) <= 0 {
			n++
		}
	}
	return n
}

func TestErrorsSayWhat(t *testing.T) {
	if got, want := fmt.Sprint(&LimitError{"prefixes for one element", MaxPieces}), "more than 1024 prefixes for one element"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
