package tuple

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// LimitError says that elements do not fit into a table of tuples.
type LimitError struct {
	What  string // what there is too much of
	Limit int
}

func (e *LimitError) Error() string { return fmt.Sprintf("more than %d %s", e.Limit, e.What) }

// KeyError says that a key is not one of the space.
type KeyError struct{ Key share.Key }

func (e *KeyError) Error() string { return fmt.Sprintf("%x is no key of this set", e.Key) }

// Masks are the bits that a tuple compares, word by word in the order of the tree's key, but of the ranged component,
// all of whose bits are set.
type Masks [tree.MaxWords]uint64

// Piece is a part of an element that is one interval of the tree.
type Piece struct {
	Masks Masks
	// Element has the words of the tree's key but the number of the tuple.
	Element tree.Element
}

// Split makes pieces of an element.
func (s Space) Split(key share.Key, data uint32) ([]Piece, error) {
	if err := s.check(key); err != nil {
		return nil, err
	}
	out := []Piece{{Element: tree.Element{Data: data}}}
	at := 0
	for _, c := range s.order() {
		n := s.bits[c]
		parts := []prefix{{interval: key[c]}}
		if c != s.ranged {
			parts = prefixes(key[c], n)
		}
		if len(parts)*len(out) > MaxPieces {
			return nil, &LimitError{"prefixes for one element", MaxPieces}
		}
		var next []Piece
		for _, p := range out {
			for _, part := range parts {
				next = append(next, p.with(part, n, at))
			}
		}
		out = next
		at += words(n)
	}
	return out, nil
}

func (s Space) check(key share.Key) error {
	if len(key) != len(s.bits) {
		return &KeyError{key}
	}
	for c, iv := range key {
		if iv.First.Compare(iv.Last) > 0 || iv.Last.Compare(ones(s.bits[c])) > 0 {
			return &KeyError{key}
		}
	}
	return nil
}

// with adds a component.
func (p Piece) with(part prefix, bits, at int) Piece {
	q := Piece{Masks: p.Masks, Element: tree.Element{Data: p.Element.Data}}
	q.Element.First = appendWords(slices.Clone(p.Element.First), part.interval.First, bits)
	last := part.interval.Last
	if part.free > 0 {
		// The last key of a prefix is, masked, its first one.
		last = part.interval.First
	}
	q.Element.Last = appendWords(slices.Clone(p.Element.Last), last, bits)
	copy(q.Masks[at:], appendWords(nil, ones(bits).Floor(part.free), bits))
	return q
}

// prefix is an interval of 2^free values whose first is a multiple of that.
type prefix struct {
	interval space.Interval
	free     int
}

// prefixes splits an interval of values of so many bits.
func prefixes(iv space.Interval, bits int) []prefix {
	var out []prefix
	for at := iv.First; ; {
		free := 0
		for free < bits {
			end := raise(at, free+1)
			if at.Floor(free+1) != at || end.Compare(iv.Last) > 0 {
				break
			}
			free++
		}
		end := raise(at, free)
		out = append(out, prefix{space.Interval{First: at, Last: end}, free})
		if end == iv.Last {
			return out
		}
		at = next(end)
	}
}

// ones is the highest value of so many bits.
func ones(bits int) space.Value {
	if bits > wordBits {
		return space.Value{Hi: ^uint64(0) >> (2*wordBits - bits), Lo: ^uint64(0)}
	}
	return space.Value{Lo: ^uint64(0) >> (wordBits - bits)}
}

// raise sets low bits.
func raise(v space.Value, bits int) space.Value {
	if bits == 0 {
		return v
	}
	o := ones(bits)
	return space.Value{Hi: v.Hi | o.Hi, Lo: v.Lo | o.Lo}
}

// next is the value above.
func next(v space.Value) space.Value {
	v.Lo++
	if v.Lo == 0 {
		v.Hi++
	}
	return v
}
