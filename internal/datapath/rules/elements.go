// Package rules keeps what the generated programs look up: see Contents.
package rules

import (
	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Contents are the elements of one named set in its map: put there, changed with every transaction, taken out when
// their time is over.
//
// The map has canonical words as keys (element.Words; 8 bytes a word, in the machine's order) and the data of elements
// as values (element.Data; 4 bytes, padded to nothing).
//
// Methods may be called from any goroutine.
type Contents struct{}

// NewContents takes over the map of a set, with whatever is in it. The map stays the caller's to close, after Close.
// Report gets errors of deletions that nobody asked for, those of expired elements; it may be called until Close
// returns.
func NewContents(set share.Set, m *ebpf.Map, report func(error)) (*Contents, error) {
	return nil, nil
}

// Replace makes the contents those of a list, changing only what differs. Errors: as Apply.
func (c *Contents) Replace(list *element.List) error { return nil }

// Apply makes the changes of a transaction. After an error the map has part of them: the set is of no use until a
// Replace succeeds, and the programs must not execute rules with it.
//
// Errors: *FullError, *element.FitError, what the kernel said.
func (c *Contents) Apply(change element.Change) error { return nil }

// Atomic reports whether every packet sees the set either as it was before a change or as it is behind it. For
// others the programs have to be suspended while Apply runs.
func (c *Contents) Atomic(change element.Change) bool { return false }

// Len is the number of elements in the map.
func (c *Contents) Len() int { return 0 }

// Close ends the care for expired elements. The map keeps what it has.
func (c *Contents) Close() {}
