package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
)

// Counter is packets and bytes as nftables counts them.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c Counter) add(o Counter) Counter {
	return Counter{Packets: c.Packets + o.Packets, Bytes: c.Bytes + o.Bytes}
}

// Totals are what became of the packets of a device.
type Totals bpfgen.Totals

func (t Totals) add(o Totals) Totals {
	return Totals{
		Dropped: t.Dropped + o.Dropped, Forwarded: t.Forwarded + o.Forwarded, Ended: t.Ended + o.Ended,
		Left: t.Left + o.Left, Suspended: t.Suspended + o.Suspended,
	}
}

// head reads the totals, with which values of the scratch map begin.
type head Totals

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (h *head) UnmarshalBinary(b []byte) error {
	if n := binary.Size(h); len(b) < n {
		return fmt.Errorf("%d bytes, and totals have %d", len(b), n)
	}
	_, err := binary.Decode(b, binary.NativeEndian, h)
	return err
}

func readTotals(m *ebpf.Map) (Totals, error) {
	var perCPU []head
	if err := m.Lookup(uint32(0), &perCPU); err != nil {
		return Totals{}, err
	}
	var sum Totals
	for _, h := range perCPU {
		sum = sum.add(Totals(h))
	}
	return sum, nil
}

// readCounters reads the first n slots of a per-CPU array of packets and bytes.
func readCounters(m *ebpf.Map, n int) ([]Counter, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	out := make([]Counter, 0, n)
	keys, values := make([]uint32, batch), make([]Counter, batch*cpus)
	var cursor ebpf.MapBatchCursor
	for len(out) < n {
		got, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrNotSupported) { // per-CPU arrays have it since Linux 5.13
			return readSlots(m, n)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, err
		}
		for slot := range slices.Chunk(values[:got*cpus], cpus) {
			var sum Counter
			for _, c := range slot {
				sum = sum.add(c)
			}
			out = append(out, sum)
		}
		if err != nil {
			break
		}
	}
	return out[:min(n, len(out))], nil
}

// readSlots does the same one by one.
func readSlots(m *ebpf.Map, n int) ([]Counter, error) {
	out := make([]Counter, min(n, int(m.MaxEntries())))
	var perCPU []Counter
	for i := range out {
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, err
		}
		for _, c := range perCPU {
			out[i] = out[i].add(c)
		}
	}
	return out, nil
}
