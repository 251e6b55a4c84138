package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Flushed is what a flush ended.
type Flushed struct {
	Flows      int // connections, as conntrack counts them
	Directions int // entries of the table
}

// Flush ends the flows that match accepts, both directions: from the next packet on they are slow. The sweep deletes
// them a second later, and they are learned again. match gets one direction at a time, as it arrives and as it leaves;
// accepting either direction is enough. What is learned meanwhile may stay.
func (d *Datapath) Flush(match func(arrives, leaves packet.Tuple) bool) (Flushed, error) {
	// The directions of a flow share the address of the conntrack entry, whatever devices and tags they come by.
	flows := map[uint64]bool{}
	err := d.each(func(e *entry) {
		if e.state() != StateDead && match(e.tuple(), e.nat) {
			flows[e.cold.Ct] = true
		}
	})
	if err != nil || len(flows) == 0 {
		return Flushed{}, err
	}
	var ends []nfoEndArgs
	now := d.clock.now()
	err = d.each(func(e *entry) {
		switch {
		case e.state() == StateDead || !flows[e.cold.Ct]:
		case e.v6:
			ends = append(ends, nfoEndArgs{Now: now, K6: e.key6, Family: 6})
		default:
			ends = append(ends, nfoEndArgs{Now: now, K4: e.key4, Family: 4})
		}
	})
	if err != nil {
		return Flushed{}, err
	}
	prog, err := d.program(variant{name: "nfo_end"})
	if err != nil {
		return Flushed{}, err
	}
	for i := range ends {
		// An entry whose other direction came first in the list has ended with it.
		if _, err := prog.Run(&ebpf.RunOptions{Context: ends[i]}); err != nil {
			return Flushed{}, fmt.Errorf("end flow: %w", err)
		}
	}
	return Flushed{Flows: len(flows), Directions: len(ends)}, nil
}
