package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Stats reads the counters. Packets that XDP passed up are counted once, with XDP's reason.
func (d *Datapath) Stats() (Stats, error) {
	s := Stats{
		Fast: map[Hook]Counter{}, Reasons: map[reason.Reason]Counter{},
		MaxFlows: int(d.cfg.MaxFlows), BytesPerFlow: elementSize(d.maps.Flows4),
	}
	all := Reasons()
	for _, hook := range []Hook{HookTC, HookXDP} {
		for i, r := range all {
			number := uint32(i)
			if hook == HookXDP {
				number += uint32(len(all))
			}
			c, err := d.counter(number, r)
			if err != nil {
				return s, err
			}
			if c == (Counter{}) {
				continue
			}
			if r == reason.Fast {
				s.Fast[hook] = c
				continue
			}
			s.Reasons[r] = s.Reasons[r].add(c)
			if hook == HookXDP && r == reason.EntryOtherHook {
				continue // the tc program behind it counts them: fast, or slow with a reason
			}
			if of := r.Scope(); of == reason.Slow || of == reason.Entry {
				s.Slow = s.Slow.add(c)
			}
		}
	}
	err := d.each(func(e *entry) {
		s.Flows++
		if e.state() == StateReady {
			s.Ready++
		}
	})
	return s, err
}

func (c Counter) add(o Counter) Counter {
	return Counter{Packets: c.Packets + o.Packets, Bytes: c.Bytes + o.Bytes}
}

func (d *Datapath) counter(number uint32, r reason.Reason) (Counter, error) {
	var perCPU []nfoCounter
	if err := d.maps.Stats.Lookup(number, &perCPU); err != nil {
		return Counter{}, fmt.Errorf("read counter %s: %w", r, err)
	}
	var sum Counter
	for _, c := range perCPU {
		sum = sum.add(Counter{Packets: c.Packets, Bytes: c.Bytes})
	}
	return sum, nil
}

// elementSize is what one element of a hash map takes: struct htab_elem, key and value, and its bucket
// (kernel/bpf/hashtab.c: 48 bytes before the key; 16 bytes a bucket, one bucket an element).
func elementSize(m *ebpf.Map) int {
	const header, bucket = 48, 16
	round := func(n uint32) int { return int(n+7) &^ 7 }
	return header + round(m.KeySize()) + round(m.ValueSize()) + bucket
}
