package rules

import (
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// tupleStore has concatenations with intervals in a tuple space. An element is split there, so what there is is kept
// here besides.
type tupleStore struct {
	id     element.SetID
	parts  []share.Part
	in     *Intervals
	have   map[string]entry // by the words of the first and the last key
	expiry expiry[string]
}

func newTupleStore(id element.SetID, m *ebpf.Map, parts []share.Part, report func(error)) (store, error) {
	in, err := intervalsOf(id, m, parts, report)
	if err != nil {
		return nil, err
	}
	return &tupleStore{id: id, parts: parts, in: in, have: map[string]entry{}}, nil
}

func (s *tupleStore) replace(n int, entries iter.Seq[entry]) error {
	want := make(map[string]entry, n)
	var come []entry
	for e := range entries {
		e.first, e.last = slices.Clone(e.first), slices.Clone(e.last)
		want[entryKey(e)] = e
		come = append(come, e)
	}
	var gone []entry
	for key, e := range s.have {
		if _, ok := want[key]; !ok {
			gone = append(gone, e)
		}
	}
	s.expiry = expiry[string]{}
	for some := range slices.Chunk(gone, atOnce) {
		if err := s.apply(some, nil); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(come, atOnce) {
		if err := s.apply(nil, some); err != nil {
			return err
		}
	}
	return nil
}

func (s *tupleStore) apply(gone, come []entry) error {
	var out, in []tuple.Element
	stale := map[string]bool{}
	leave := func(key string) {
		if old, ok := s.have[key]; ok && !stale[key] {
			stale[key] = true
			out = append(out, s.element(old))
		}
	}
	for _, e := range gone {
		leave(entryKey(e))
	}
	fresh := map[string]entry{}
	for _, e := range come {
		key := entryKey(e)
		if old, ok := s.have[key]; ok && old.data == e.data && !stale[key] {
			s.expiry.set(key, e.expires)
			continue
		}
		leave(key)
		in = append(in, s.element(e))
		fresh[key] = e
	}
	if err := s.in.Apply(out, in); err != nil {
		return s.refused(err)
	}
	for key := range stale {
		delete(s.have, key)
		s.expiry.set(key, time.Time{})
	}
	for key, e := range fresh {
		s.have[key] = e
		s.expiry.set(key, e.expires)
	}
	return nil
}

// refused says what an error of the table means for the set.
func (s *tupleStore) refused(err error) error {
	if errors.Is(err, tree.ErrFull) {
		return tooMany(s.id)
	}
	if _, ok := errors.AsType[*tree.OverlapError](err); ok {
		return &element.FitError{Set: s.id, Reason: "has elements that overlap"}
	}
	if l, ok := errors.AsType[*tuple.LimitError](err); ok {
		return &element.FitError{Set: s.id, Reason: "has elements that need " + l.Error()}
	}
	return err
}

func (s *tupleStore) atomic(n int) bool { return n <= atOnce }

func (s *tupleStore) expire(now time.Time) (time.Time, error) {
	var gone []entry
	for {
		key, ok := s.expiry.due(now)
		if !ok {
			return s.expiry.next(), s.apply(gone, nil)
		}
		if e, ok := s.have[key]; ok {
			gone = append(gone, e)
		}
	}
}

// find, highest and all are for sets whose intervals the kernel splits, which these are not.
func (s *tupleStore) find([]uint64) (entry, bool) { return entry{}, false }

func (s *tupleStore) highest() (entry, bool) { return entry{}, false }

func (s *tupleStore) all() (int, iter.Seq[entry]) { return 0, func(func(entry) bool) {} }

func (s *tupleStore) close() error { return s.in.Close() }

// element is an entry with its components as intervals.
func (s *tupleStore) element(e entry) tuple.Element {
	out := tuple.Element{Data: e.data}
	at := 0
	for _, p := range s.parts {
		var iv space.Interval
		if p.Bits > element.WordBits {
			iv.First.Hi, iv.Last.Hi = e.first[at], e.last[at]
			at++
		}
		iv.First.Lo, iv.Last.Lo = e.first[at], e.last[at]
		at++
		out.Key = append(out.Key, iv)
	}
	return out
}

// entryKey tells the entries of a tuple store apart.
func entryKey(e entry) string { return pack(e.first) + pack(e.last) }
