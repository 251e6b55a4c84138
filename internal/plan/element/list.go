package element

import (
	"iter"
	"time"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// List is all elements of a set at one time, packed: a million IPv4 addresses are 4 MB, and as prefixes 8 MB.
// The zero value is empty.
type List struct {
	// Generation is the low half of the ruleset's at that time.
	Generation Generation

	size   int    // bytes of a key
	keys   []byte // of all elements but "*"
	lasts  []byte // as long as keys, or nil: all elements are single keys
	rest   []rest // as many as keys, or nil: no element has any of it
	all    *rest  // of "*"
	single []byte // unused room of a last key
}

// rest is what elements of plain sets do not have.
type rest struct {
	verdict  ruleset.VerdictKind
	chain    string
	expires  time.Time
	stateful bool
	exact    bool // one key, in a list with intervals
}

// Generation numbers the states of a ruleset.
type Generation uint16

// Before reports whether a transaction came after the state that was read, so that its changes are not in it.
func (g Generation) Before(commit uint32) bool { return int16(uint16(commit)-uint16(g)) > 0 }

// Len is the number of elements.
func (l *List) Len() int { return 0 }

// Add adds a copy of an element. All keys of a list are equally long.
func (l *List) Add(e Element) {}

// All are the elements in the order in which they were added, but "*", which comes last. The bytes of their keys are
// the list's own.
func (l *List) All() iter.Seq[Element] { return nil }
