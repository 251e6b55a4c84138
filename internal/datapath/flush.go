package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Flushed is what a flush removed.
type Flushed struct {
	Flows      int // connections, as conntrack counts them
	Directions int // entries of the table
}

// Flush removes the flows that match accepts, both directions: their next packets are slow and are learned from as those
// of a new flow. match gets one direction at a time, as it arrives and as it leaves; accepting either direction is
// enough. What is learned meanwhile may stay.
func (d *Datapath) Flush(match func(arrives, leaves packet.Tuple) bool) (Flushed, error) {
	// The directions of a flow share the address of the conntrack entry, whatever devices and tags they come by.
	flows := map[uint64]bool{}
	err := d.each(func(e *entry) {
		if match(e.tuple(), e.nat) {
			flows[e.cold.Ct] = true
		}
	})
	if err != nil || len(flows) == 0 {
		return Flushed{}, err
	}
	var four []nfoKey4
	var six []nfoKey6
	err = d.each(func(e *entry) {
		switch {
		case !flows[e.cold.Ct]:
		case e.v6:
			six = append(six, e.key6)
		default:
			four = append(four, e.key4)
		}
	})
	if err != nil {
		return Flushed{}, err
	}
	n4, err4 := removeAll(d.maps.Flows4, four)
	n6, err6 := removeAll(d.maps.Flows6, six)
	d.forgotten += n4 + n6
	return Flushed{Flows: len(flows), Directions: n4 + n6}, errors.Join(err4, err6)
}

// removeAll deletes keys and returns how many were there. Readers that hold an element see by its cookie that it is
// another flow's when it is used again.
func removeAll[K any](m *ebpf.Map, keys []K) (int, error) {
	n := 0
	for i := range keys {
		switch err := m.Delete(&keys[i]); {
		case err == nil:
			n++
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			return n, fmt.Errorf("delete flow: %w", err)
		}
	}
	return n, nil
}
