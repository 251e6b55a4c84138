package engine

import (
	"context"
	"time"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Source is the machine's ruleset. Its methods may be called from any goroutine.
type Source interface {
	Read(ctx context.Context) (handover.Ruleset, error)
	// Watch reports changes from the moment it returns until the context ends. A channel that closes before is a
	// watch that failed.
	Watch(ctx context.Context) (<-chan Change, error)
}

// Links is the machine's network devices and everything routing depends on. Its methods may be called from any
// goroutine.
type Links interface {
	Devices(ctx context.Context) ([]Link, error)
	Watch(ctx context.Context) (<-chan Change, error) // as Source.Watch
}

// Datapath is the fast path. One goroutine calls its methods, except Bump, which may run beside Sweep, Stats and
// Flows.
type Datapath interface {
	// Apply makes the datapath as desired. Devices it cannot attach to come back as refusals; the others run.
	Apply(want Desired) ([]Refusal, error)
	Bump() error
	// Sweep is called every second. watching says that every change of the machine will be followed by a Bump: leases
	// may be longer for as long as that is said.
	Sweep(watching bool) (Sweep, error)
	Stats() (Stats, error)
	Flows() ([]Flow, error)
}

// Operator is what an administrator does to single flows. The goroutine that calls Datapath's methods calls these.
type Operator interface {
	// Flush removes the flows of a filter from the table, both directions.
	Flush(f Filter) (Flushed, error)
	// Hold keeps the flows of a filter out of the table from now on; it ends by itself, with no daemon too. The same
	// filter again begins anew. ErrHoldsFull: no more fit.
	Hold(h Hold) error
	Holds() ([]Hold, error)
	// Release ends the holds that match accepts and returns how many.
	Release(match func(Hold) bool) (int, error)
	// Refused lists, in no order, what was handed over and not learned; names of devices are not filled in.
	Refused() ([]Refused, error)
}

// Conntrack is the care for connections of which the kernel sees only a sample. Its methods may be called from any
// goroutine. Connections that are gone, or that the kernel's own flowtable looks after, are no errors.
type Conntrack interface {
	// SetLiberal makes the kernel accept the sample and clears what would freeze; either direction names the
	// connection. It is repeated after every GiB.
	SetLiberal(conns []packet.Tuple) error
	// RestoreTimeout gives a connection that fell idle the timeout it would have without the fast path.
	RestoreTimeout(conn packet.Tuple, idle time.Duration) error
}

// Chains is the machine's ruleset, whole, and what its devices can do for rules. Read may be called from any goroutine.
type Chains interface {
	Read(ctx context.Context) (*ruleset.Ruleset, caps.Machine, error)
}

// Rules is the programs that execute rules before the kernel does. Datapath.Apply loads and attaches them. Renew and
// Suspend may be called from any goroutine.
type Rules interface {
	// Renew lets programs execute rules for the next two seconds.
	Renew() error
	// Suspend makes them leave all packets to nftables, at once and until Renew.
	Suspend() error
	// Counted is what they have counted since the first daemon.
	Counted() (Counted, error)
}

// Sets are the elements of named sets: in the ruleset, and in the maps that programs look into.
type Sets interface {
	// Subscribe says of which sets Changes have the elements: of every transaction from when it returns.
	Subscribe(sets []element.SetID)
	// List reads the elements of a set of the ruleset.
	List(ctx context.Context, set element.SetID) (*element.List, error)
	// Replace makes the elements of the programs those of a list.
	Replace(set element.SetID, list *element.List) error
	// Apply makes a change of a set for the programs; ErrReread: it cannot. After an error they have part of it.
	Apply(c element.Change) error
	// Atomic reports whether every packet sees a change that Apply makes whole or not at all.
	Atomic(c element.Change) bool
}
