package lookup_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// widths are the keys of the tests: an address, a MAC address, a number of 64 bits, ip . port behind a tuple, IPv6,
// ip6 . port, five words, eight.
func widths() [][]int {
	return [][]int{{32}, {16}, {48}, {64}, {8, 32, 16}, {64, 64}, {64, 64, 16}, {16, 64, 64, 16, 8}, {64, 64, 64, 64, 64, 64, 64, 64}}
}

func layout(t testing.TB, bits []int) tree.Layout {
	t.Helper()
	l, err := tree.NewLayout(bits...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// randomKey makes a key: often one of few, so that elements come close, and often with the highest and lowest words.
func randomKey(r *rand.Rand, l tree.Layout) []uint64 {
	key := make([]uint64, l.Words())
	for i := range key {
		top := ^uint64(0) >> (64 - l.Bits(i))
		switch r.IntN(6) {
		case 0:
			key[i] = 0
		case 1:
			key[i] = top
		case 2:
			key[i] = top/2 + uint64(r.IntN(3)) - 1
		case 3:
			key[i] = r.Uint64N(1000) & top
		default:
			key[i] = r.Uint64() & top
		}
	}
	return key
}

func TestTreeFindsWhatGoFinds(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	for _, bits := range widths() {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			l := layout(t, bits)
			tr, m := newTree(t, l, 5000, 0)
			p := program(t, l.Words(), m, func(s lookup.Site) (asm.Instructions, error) {
				s.Pages = int(m.MaxEntries())
				return lookup.Tree(l, s)
			})
			var keys [][]uint64
			for n := range 5000 {
				a, b := randomKey(r, l), randomKey(r, l)
				if n%2 == 0 {
					b = slices.Clone(a)
					b[l.Words()-1] |= uint64(r.IntN(8)) & (^uint64(0) >> (64 - l.Bits(l.Words()-1)))
				}
				if slices.Compare(a, b) > 0 {
					a, b = b, a
				}
				keys = append(keys, a, b)
				if n > 50 && n%2 == 1 {
					continue // wide intervals only while there are few others
				}
				_ = tr.Insert(tree.Element{First: a, Last: b, Data: uint32(n)})
			}
			found := 0
			for _, key := range keys {
				want, ok := tr.Lookup(key)
				if !ok {
					want = none
				} else {
					found++
				}
				if got := run(t, p, key); got != want {
					t.Fatalf("%x: the program has %d, Go %d", key, got, want)
				}
			}
			t.Logf("%d elements, %d of %d keys found", tr.Len(), found, len(keys))
		})
	}
}
