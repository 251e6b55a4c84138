package tuple

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

const (
	// MaxTuples is the most tuples of a table, and so the most searches of a lookup.
	MaxTuples = 16
	// MaxPieces is the most intervals that an element may be split into.
	MaxPieces = 1 << 10

	idBits   = 8
	wordBits = 64
)

// Space is how keys of some components are kept: the same for the table and for the program that looks into it.
type Space struct {
	bits   []int // of the components
	ranged int
	layout tree.Layout
}

// NewSpace makes the space for keys of components of so many bits each, up to 128. Ranged is the component whose
// intervals need not be split (Ranged, Widest).
func NewSpace(bits []int, ranged int) (Space, error) {
	s := Space{bits: slices.Clone(bits), ranged: ranged}
	if ranged < 0 || ranged >= len(bits) {
		return s, fmt.Errorf("lay out tuples: there is no component %d of %d", ranged, len(bits))
	}
	var words []int
	if !s.Plain() {
		words = append(words, idBits)
	}
	for _, c := range s.order() {
		if n := bits[c]; n > wordBits {
			words = append(words, n-wordBits, wordBits)
		} else {
			words = append(words, n)
		}
	}
	var err error
	if s.layout, err = tree.NewLayout(words...); err != nil {
		return s, fmt.Errorf("lay out tuples: %w", err)
	}
	return s, nil
}

// Plain says that keys have one component, so that there are no tuples.
func (s Space) Plain() bool { return len(s.bits) == 1 }

// Layout is how keys lie in the tree.
func (s Space) Layout() tree.Layout { return s.layout }

// Reserved is the number of pages that the tree does not get.
func (s Space) Reserved() int {
	if s.Plain() {
		return 0
	}
	return MaxTuples
}

// Pages is how many pages the arena of a table of so many elements needs, if none of them has to be split.
func (s Space) Pages(elements int) int { return s.layout.Pages(elements) + s.Reserved() }

// FixedPages is how many it needs if they never change.
func (s Space) FixedPages(elements int) int { return s.layout.FixedPages(elements) + s.Reserved() }

// Order says which word of the canonical key, which has the words of the components one after another, is where in the
// tree's key, behind the number of the tuple.
func (s Space) Order() []int {
	first := make([]int, len(s.bits))
	for i := 1; i < len(s.bits); i++ {
		first[i] = first[i-1] + words(s.bits[i-1])
	}
	var out []int
	for _, c := range s.order() {
		for w := range words(s.bits[c]) {
			out = append(out, first[c]+w)
		}
	}
	return out
}

// order is the components with the ranged one last.
func (s Space) order() []int {
	var out []int
	for c := range s.bits {
		if c != s.ranged {
			out = append(out, c)
		}
	}
	return append(out, s.ranged)
}

// words is how many words a component has.
func words(bits int) int { return (bits + wordBits - 1) / wordBits }

// appendWords writes a value as words.
func appendWords(to []uint64, v space.Value, bits int) []uint64 {
	if words(bits) == 2 {
		to = append(to, v.Hi)
	}
	return append(to, v.Lo)
}

// Widest is the component with the most bits, the first of them: what to range over where the elements are not known,
// for it is in addresses that prefixes of many lengths are.
func Widest(bits []int) int {
	return slices.Index(bits, slices.Max(bits))
}

// Ranged is the component to range over for these elements: the one with the most prefix lengths.
func Ranged(bits []int, keys []share.Key) int {
	best, most := Widest(bits), 0
	for c, n := range bits {
		seen := map[int]bool{}
		for _, k := range keys {
			for _, p := range prefixes(k[c], n) {
				seen[p.free] = true
			}
		}
		if len(seen) > most || len(seen) == most && n > bits[best] {
			best, most = c, len(seen)
		}
	}
	return best
}
