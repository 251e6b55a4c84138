package nft

import (
	"context"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TableID names a table.
type TableID struct {
	Family ruleset.Family
	Name   string
}

// Commit is what one nf_tables transaction did, as far as a SetWatch cares.
type Commit struct {
	// Generation is the ruleset's behind it; 0 with Lost.
	Generation uint32
	// Process is the name of the process that made the change, where the kernel says it.
	Process string
	// Tables are those in which more changed than elements of named sets: rules, chains, sets, the table itself.
	Tables []TableID
	// Changes are those of elements of the sets that were subscribed to, one for a set.
	Changes []element.Change
	// Lost says that notifications did not fit into the socket's buffer: anything may have changed, and whoever knows
	// elements has to read them again.
	Lost bool
	// Err ends the commits; the channel closes behind it.
	Err error
}

// SetWatch reports transactions with what they changed.
//
// Who keeps a copy of a set's elements subscribes to it first, then reads it with Elements, and from then on applies
// the changes of commits that the list's generation is Before.
type SetWatch struct {
	commits chan Commit
}

// WatchSets reports every nf_tables transaction in the calling thread's network namespace from now on. Commits ends
// with the context. A reader that is slow costs commits, which one with Lost reports.
func WatchSets(ctx context.Context) (*SetWatch, error) {
	return nil, nil
}

// Commits is where they come, in order.
func (w *SetWatch) Commits() <-chan Commit { return w.commits }

// Subscribe replaces the sets whose elements are reported. It holds for all transactions that are committed after it
// returned. A set need not exist.
func (w *SetWatch) Subscribe(sets []element.SetID) {
}
