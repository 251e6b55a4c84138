package datapath

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
)

// knownBits is how many bits of the map `known` there are for every flow that fits the table. With two the map stays in
// the caches that every packet needs (32 KiB for 131072 flows), and still spares new connections a useless look in 94 of
// 100 cases where an eighth of the table is used, in 61 where all of it is.
const knownBits = 2

// knownWords is the size of the map: 64 bits a word, a power of two. Both families share it.
func knownWords(maxFlows uint32) uint32 {
	words := max(1, (uint64(maxFlows)*knownBits+63)/64)
	return 1 << bits.Len64(words-1)
}

// knownPlace is known_word of bpf/flow.h.
func knownPlace(cookie, mask uint32) (word uint32, bit uint64) {
	mixed := (cookie ^ cookie>>16) * 0x85ebca6b
	mixed ^= mixed >> 13
	return mixed & mask, 1 << (mixed >> 26)
}

// rewriteAfter is how many sweeps pass before bits of deleted flows are cleared.
const rewriteAfter = 10

// sweepKnown is one sweep's share of keeping the bits: the first sweep of a daemon sets those of what it found.
func (d *Datapath) sweepKnown(deleted int, cookies []uint32) error {
	d.forgotten += deleted
	if d.sweeps++; d.sweeps%rewriteAfter != 1 || d.forgotten == 0 && d.sweeps > 1 {
		return nil
	}
	d.forgotten = 0
	return d.rewriteKnown(cookies)
}

// rewriteKnown makes the bits those of the entries with these cookies and of no others. An entry that is made meanwhile
// may lose its bit: its next slow packet sets it again.
func (d *Datapath) rewriteKnown(cookies []uint32) error {
	m := d.maps.Known
	want := make([]uint64, m.MaxEntries())
	for _, c := range cookies {
		word, bit := knownPlace(c, m.MaxEntries()-1)
		want[word] |= bit
	}
	keys, have := make([]uint32, len(want)), make([]uint64, len(want))
	var cursor ebpf.MapBatchCursor
	if _, err := m.BatchLookup(&cursor, keys, have, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read known flows: %w", err)
	}
	var stale []uint32
	var words []uint64
	for i, k := range keys {
		if have[i] != want[k] {
			stale, words = append(stale, k), append(words, want[k])
		}
	}
	if len(stale) == 0 {
		return nil
	}
	if _, err := m.BatchUpdate(stale, words, nil); err != nil {
		return fmt.Errorf("write known flows: %w", err)
	}
	return nil
}
