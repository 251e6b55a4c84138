package rules

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// Sizes of what hash maps hold, in bytes.
const (
	wordSize  = 8
	valueSize = 4
)

// hash has exact keys in a hash map. K is an array of words. The map is the only copy of the keys; what expires is in
// expiry besides.
type hash[K comparable] struct {
	id     element.SetID
	m      *ebpf.Map
	key    func([]uint64) K
	expiry expiry[K]
}

// newHash makes the store for keys of so many words. The kernel's keys have at most 64 bytes, and a component at least
// four of them.
func newHash(id element.SetID, m *ebpf.Map, words int) (store, error) {
	if int(m.KeySize()) != words*wordSize || m.ValueSize() != valueSize {
		return nil, fmt.Errorf("a map with keys of %d and values of %d bytes, not %d and %d", m.KeySize(), m.ValueSize(), words*wordSize, valueSize)
	}
	switch words {
	case 1:
		return &hash[[1]uint64]{id: id, m: m, key: func(w []uint64) [1]uint64 { return [1]uint64(w) }}, nil
	case 2:
		return &hash[[2]uint64]{id: id, m: m, key: func(w []uint64) [2]uint64 { return [2]uint64(w) }}, nil
	case 3:
		return &hash[[3]uint64]{id: id, m: m, key: func(w []uint64) [3]uint64 { return [3]uint64(w) }}, nil
	case 4:
		return &hash[[4]uint64]{id: id, m: m, key: func(w []uint64) [4]uint64 { return [4]uint64(w) }}, nil
	case 5:
		return &hash[[5]uint64]{id: id, m: m, key: func(w []uint64) [5]uint64 { return [5]uint64(w) }}, nil
	case 6:
		return &hash[[6]uint64]{id: id, m: m, key: func(w []uint64) [6]uint64 { return [6]uint64(w) }}, nil
	case 7:
		return &hash[[7]uint64]{id: id, m: m, key: func(w []uint64) [7]uint64 { return [7]uint64(w) }}, nil
	case 8:
		return &hash[[8]uint64]{id: id, m: m, key: func(w []uint64) [8]uint64 { return [8]uint64(w) }}, nil
	}
	return nil, &element.FitError{Set: id, Reason: fmt.Sprintf("has keys of %d words", words)}
}

// replace compares the map with what is wanted, which takes a copy of that in memory while it runs: 60 MB for a million
// elements of one word.
func (h *hash[K]) replace(n int, entries iter.Seq[entry]) error {
	if n > int(h.m.MaxEntries()) {
		return h.full()
	}
	want := make(map[K]uint32, n)
	h.expiry = expiry[K]{}
	for e := range entries {
		k := h.key(e.first)
		want[k] = e.data
		h.expiry.set(k, e.expires)
	}
	var stale []K
	err := eachElement(h.m, func(k K, v uint32) {
		if data, ok := want[k]; !ok {
			stale = append(stale, k)
		} else if data == v {
			delete(want, k)
		}
	})
	if err != nil {
		return err
	}
	if err := h.remove(stale); err != nil {
		return err
	}
	keys, values := make([]K, 0, batch), make([]uint32, 0, batch)
	for k, v := range want {
		if keys, values = append(keys, k), append(values, v); len(keys) == batch {
			if err := h.put(keys, values); err != nil {
				return err
			}
			keys, values = keys[:0], values[:0]
		}
	}
	return h.put(keys, values)
}

func (h *hash[K]) apply(gone, come []entry) error {
	stale := make([]K, 0, len(gone))
	for _, e := range gone {
		k := h.key(e.first)
		h.expiry.set(k, time.Time{})
		stale = append(stale, k)
	}
	if err := h.remove(stale); err != nil {
		return err
	}
	for part := range slices.Chunk(come, batch) {
		keys, values := make([]K, 0, len(part)), make([]uint32, 0, len(part))
		for _, e := range part {
			k := h.key(e.first)
			h.expiry.set(k, e.expires)
			keys, values = append(keys, k), append(values, e.data)
		}
		if err := h.put(keys, values); err != nil {
			return err
		}
	}
	return nil
}

func (h *hash[K]) expire(now time.Time) (time.Time, error) {
	var stale []K
	for {
		k, ok := h.expiry.due(now)
		if !ok {
			return h.expiry.next(), h.remove(stale)
		}
		stale = append(stale, k)
	}
}

func (h *hash[K]) find(key []uint64) (entry, bool) {
	var v uint32
	k := h.key(key)
	if err := h.m.Lookup(&k, &v); err != nil {
		return entry{}, false
	}
	return entry{first: key, last: key, data: v, expires: h.expiry.when[k]}, true
}

// highest and all are for sets of intervals.
func (h *hash[K]) highest() (entry, bool) { return entry{}, false }

func (h *hash[K]) all() (int, iter.Seq[entry]) { return 0, func(func(entry) bool) {} }

func (h *hash[K]) atomic(n int) bool { return n <= 1 }

func (h *hash[K]) close() error { return nil }

func (h *hash[K]) put(keys []K, values []uint32) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := h.m.BatchUpdate(keys, values, nil)
	if errors.Is(err, unix.E2BIG) {
		return h.full()
	}
	if err != nil {
		return fmt.Errorf("put elements in: %w", err)
	}
	return nil
}

// remove takes keys out, which may not be there: a batch would stop at such a one.
func (h *hash[K]) remove(keys []K) error {
	for i := range keys {
		if err := h.m.Delete(&keys[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("take an element out: %w", err)
		}
	}
	return nil
}

func (h *hash[K]) full() error {
	return &element.FitError{Set: h.id, Reason: fmt.Sprintf("has more than %d elements", h.m.MaxEntries())}
}

// eachElement calls f for every element of a hash map.
func eachElement[K any](m *ebpf.Map, f func(K, uint32)) error {
	keys, values := make([]K, batch), make([]uint32, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, unix.ENOSPC) { // one bucket holds more
			keys, values = make([]K, 2*len(keys)), make([]uint32, 2*len(values))
			continue
		}
		for i := range n {
			f(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read elements: %w", err)
		}
	}
}
