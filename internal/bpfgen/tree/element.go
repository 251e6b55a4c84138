package tree

import (
	"fmt"
	"slices"
)

// Element is an interval of keys, both ends included, and what it stands for. Keys are words, the most significant
// first, and are ordered as such.
type Element struct {
	First, Last []uint64
	Data        uint32
}

// String writes the element for errors.
func (e Element) String() string { return fmt.Sprintf("[%x, %x]", e.First, e.Last) }

// Clone copies the element with its keys.
func (e Element) Clone() Element {
	return Element{First: slices.Clone(e.First), Last: slices.Clone(e.Last), Data: e.Data}
}

// check says whether the element may be in a tree of this layout.
func (l Layout) check(e Element) error {
	if len(e.First) != l.words || len(e.Last) != l.words || slices.Compare(e.First, e.Last) > 0 {
		return &KeyError{e}
	}
	for i := range l.words {
		if e.First[i] > l.top(i) || e.Last[i] > l.top(i) {
			return &KeyError{e}
		}
	}
	return nil
}
