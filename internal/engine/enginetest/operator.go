package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// HoldRoom is how many holds fit an Operator.
const HoldRoom = 2

// Operator takes flows out of a Datapath, and keeps holds for ever.
type Operator struct {
	d *Datapath

	mu      sync.Mutex
	did     []string
	holds   []engine.Hold
	refused []engine.Refused
}

// NewOperator returns one without holds.
func NewOperator(d *Datapath) *Operator { return &Operator{d: d} }

// Flush removes live directions that match. Nothing in the fake is translated.
func (o *Operator) Flush(f engine.Filter) (engine.Flushed, error) {
	o.note("flush " + f.String())
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	flows := map[uint64]bool{}
	before := len(o.d.live)
	o.d.live = slices.DeleteFunc(o.d.live, func(a engine.Activity) bool {
		if !f.MatchTuples(a.Tuple) {
			return false
		}
		flows[a.Conntrack] = true
		return true
	})
	return engine.Flushed{Flows: len(flows), Directions: before - len(o.d.live)}, nil
}

// Hold keeps the hold, in place of one with the same filter.
func (o *Operator) Hold(h engine.Hold) error {
	o.note("hold " + h.String())
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.IndexFunc(o.holds, func(old engine.Hold) bool { return old.Filter == h.Filter }); i >= 0 {
		o.holds[i] = h
		return nil
	}
	if len(o.holds) == HoldRoom {
		return engine.ErrHoldsFull
	}
	o.holds = append(o.holds, h)
	return nil
}

// Holds lists the holds.
func (o *Operator) Holds() ([]engine.Hold, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.holds), nil
}

// Release removes holds.
func (o *Operator) Release(match func(engine.Hold) bool) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := len(o.holds)
	o.holds = slices.DeleteFunc(o.holds, match)
	return before - len(o.holds), nil
}

// SetRefused sets what Refused returns.
func (o *Operator) SetRefused(r ...engine.Refused) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = r
}

// Refused returns what SetRefused set.
func (o *Operator) Refused() ([]engine.Refused, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.refused), nil
}

func (o *Operator) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.did = append(o.did, what)
}

// Take returns what was done since the last call, a line each.
func (o *Operator) Take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := strings.Join(o.did, "\n")
	o.did = nil
	return s
}

// String prints a line for each hold: "tcp port 443 60s".
func (o *Operator) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, h := range o.holds {
		fmt.Fprintf(&b, "%s %gs\n", h.Filter, float64(h.Left)/1e9)
	}
	return b.String()
}
