package lookup_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// randomConcat makes a key of intervals: single values, prefixes and, in the ranged component, anything.
func randomConcat(r *rand.Rand, bits []int, ranged int) share.Key {
	var key share.Key
	for c, n := range bits {
		low := r.Uint64() & (^uint64(0) >> (64 - min(n, 64)))
		if r.IntN(2) == 0 {
			low = r.Uint64N(8)
		}
		iv := space.Interval{First: space.Number(low), Last: space.Number(low)}
		switch {
		case c == ranged && r.IntN(2) == 0:
			iv.Last.Lo = max(low, r.Uint64()&(^uint64(0)>>(64-min(n, 64))))
		case r.IntN(3) == 0:
			free := 8 * r.IntN(2)
			iv.First = iv.First.Floor(free)
			iv.Last = space.Number(iv.First.Lo + 1<<free - 1)
		}
		key = append(key, iv)
	}
	return key
}

func inside(key share.Key, words []uint64, bits []int) bool {
	at := 0
	for c, n := range bits {
		v := space.Number(words[at])
		if n > 64 {
			v = space.Value{Hi: words[at], Lo: words[at+1]}
			at++
		}
		at++
		if v.Compare(key[c].First) < 0 || v.Compare(key[c].Last) > 0 {
			return false
		}
	}
	return true
}

// words are the first or the last key of an element, now and then one of its neighbours.
func words(r *rand.Rand, key share.Key, bits []int) []uint64 {
	var out []uint64
	for c, n := range bits {
		v := key[c].First
		if r.IntN(2) == 0 {
			v = key[c].Last
		}
		if r.IntN(8) == 0 {
			v.Lo = (v.Lo + 1) & (^uint64(0) >> (64 - min(n, 64)))
		}
		if n > 64 {
			out = append(out, v.Hi)
		}
		out = append(out, v.Lo)
	}
	return out
}

func TestTuplesGiveTheLowestRule(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	for _, c := range []struct {
		bits   []int
		ranged int
	}{{[]int{32}, 0}, {[]int{32, 16}, 0}, {[]int{32, 16}, 1}, {[]int{128, 16}, 0}, {[]int{8, 32, 32, 16}, 2}, {[]int{16, 128, 128}, 1}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			sp, err := tuple.NewSpace(c.bits, c.ranged)
			if err != nil {
				t.Fatal(err)
			}
			var elements []tuple.Element
			for n := range 300 {
				elements = append(elements, tuple.Element{Key: randomConcat(r, c.bits, c.ranged), Data: uint32(n)})
			}
			m, arena := memory(t, sp.Layout().PageBytes(), sp.Pages(1000))
			table, err := tuple.New(arena, sp, grace)
			if err != nil {
				t.Fatal(err)
			}
			if err := table.Fill(elements, true); err != nil {
				t.Fatal(err)
			}
			p := program(t, len(sp.Order()), m, func(s lookup.Site) (asm.Instructions, error) {
				s.Pages, s.Tuples = int(m.MaxEntries()), table.Tuples()
				return lookup.Tuples(sp, true, s)
			})
			hits := 0
			for range 3000 {
				key := words(r, elements[r.IntN(len(elements))].Key, c.bits)
				want := uint32(none)
				for _, e := range elements {
					if inside(e.Key, key, c.bits) {
						want = e.Data
						hits++
						break
					}
				}
				if got := run(t, p, key); got != want {
					t.Fatalf("%x: the program has %d, the list %d", key, got, want)
				}
				if got, ok := table.Lookup(key); ok != (want != none) || ok && got != want {
					t.Fatalf("%x: Go has %d, the list %d", key, got, want)
				}
			}
			t.Logf("%d tuples, %d intervals, %d hits", table.Tuples(), table.Tree().Len(), hits)
		})
	}
}
