// Package element holds elements of named sets: as nf_tables hands them out, in the bytes of its registers, and as the
// canonical words that programs look up. Package nft reads and watches them, package datapath/rules puts them into
// maps, and neither knows the other.
package element

import (
	"time"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// SetID names a set or map of the live ruleset.
type SetID struct {
	Family ruleset.Family
	Table  string
	Name   string
}

// String names the set as nft(8) does: "ip filter blocked".
func (s SetID) String() string { return string(s.Family) + " " + s.Table + " " + s.Name }

// Element is an element as the kernel has it.
//
// In sets of intervals that are not concatenations it is one of two points: the first key of an interval, or, with End,
// the first one behind it (NFT_SET_ELEM_INTERVAL_END). List.Join makes intervals of them, with First and Last.
type Element struct {
	// First and Last are the ends of an interval, both included, as the kernel's registers hold them: components in
	// their order, in concatenations each filled up to four bytes. Last is nil where the element is one key. Both are
	// nil for the element "*", which is what is found where no other is.
	First, Last []byte
	End         bool
	// Verdict is the data of an element of a verdict map; empty in other sets.
	Verdict ruleset.VerdictKind
	// Chain is where a verdict jumps or goes to.
	Chain string
	// Stateful says that the element has a counter, a limit, a quota or an object of its own.
	Stateful bool
	// Expires is when the kernel ceases to match it; zero: never. It has a monotonic reading.
	Expires time.Time
}

// CatchAll reports whether it is the element "*".
func (e *Element) CatchAll() bool { return e.First == nil }

// Change is what one transaction did to the elements of a set, as the kernel tells it.
type Change struct {
	Set SetID
	// Made says that the transaction is known to have made the set, or made it anew: Added is all that it has. Without
	// it the set may be new all the same, where there was none before: then Added is all that it has, too, for whoever
	// took Gone, or that there is no set, for an empty one.
	Made bool
	// Points says, with Made, that the set is one of intervals and no concatenation.
	Points bool
	// Gone says that the transaction deleted the set.
	Gone bool
	// Deleted and Added are the net effect. An added element may have been there before: then its verdict or its time
	// has changed.
	Deleted, Added List
}
