package datapath

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Limits of the sweep.
const (
	deadRest  = time.Second      // a dead entry stays so long, for readers that hold it
	idleLimit = 60 * time.Second // then an entry makes room; the next packets learn it again
)

// Sweep is what one pass over the table found and did.
type Sweep struct {
	Entries, Deleted int
	// Live has one element a direction that is not dead, for the caller's care of conntrack.
	Live []Activity
	// Ended has the directions that were deleted.
	Ended []Activity
}

// Activity is what the control plane must know of one direction to keep its conntrack entry sound.
type Activity struct {
	Conntrack uint64 // the same for both directions of a flow
	Tuple     packet.Tuple
	State     State
	Idle      time.Duration
	Bytes     uint64
}

// Sweep deletes what has been dead for a second and what has been idle for a minute, recycles adjacencies, and
// reports what lives. Call it about once a second; a pass reads the table at about 3 million entries a second.
func (d *Datapath) Sweep() (Sweep, error) {
	var s Sweep
	var gone4 []nfoKey4
	var gone6 []nfoKey6
	now := d.clock.now()
	named := map[uint32]bool{}
	var cookies []uint32
	err := d.each(func(e *entry) {
		s.Entries++
		named[e.hot.Adj] = true
		a := Activity{Conntrack: e.cold.Ct, Tuple: e.tuple(), State: e.state(), Idle: e.idle(now), Bytes: e.hot.Bytes}
		if !e.removable(now) {
			s.Live = append(s.Live, a)
			cookies = append(cookies, e.hot.Cookie)
			return
		}
		s.Ended = append(s.Ended, a)
		if e.v6 {
			gone6 = append(gone6, e.key6)
		} else {
			gone4 = append(gone4, e.key4)
		}
	})
	if err != nil {
		return s, err
	}
	for _, k := range gone4 {
		if err := remove(d.maps.Flows4, &k); err != nil {
			return s, err
		}
	}
	for _, k := range gone6 {
		if err := remove(d.maps.Flows6, &k); err != nil {
			return s, err
		}
	}
	s.Deleted = len(gone4) + len(gone6)
	return s, errors.Join(d.sweepKnown(s.Deleted, cookies), d.sweepSlots(time.Now(), named))
}

func (e *entry) removable(now uint64) bool {
	if e.state() == StateDead {
		return since(now, e.cold.Died) > deadRest
	}
	// Past every lease by far; and the observer does not renew what is older than 50 s, so none can come to life again
	// between this reading and the deletion.
	return e.idle(now) > idleLimit && since(now, e.hot.Stamp) > idleLimit
}

func remove[K any](m *ebpf.Map, k *K) error {
	if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete flow: %w", err)
	}
	return nil
}
