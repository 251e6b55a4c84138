package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// treeStore has intervals in a search tree. The tree is the only copy of the keys; what expires is in expiry besides.
type treeStore struct {
	id     element.SetID
	in     *Intervals
	expiry expiry[string] // by the words of the first key
}

// atOnce is the most elements that are changed at once for readers. A change needs room for new pages, some for each
// element in the worst case.
const atOnce = 1 << 10

func newTreeStore(id element.SetID, m *ebpf.Map, part share.Part, report func(error)) (store, error) {
	in, err := intervalsOf(id, m, []share.Part{part}, report)
	if err != nil {
		return nil, err
	}
	return &treeStore{id: id, in: in}, nil
}

// intervalsOf are the intervals of a named set. The program that looks into the map ranges over the widest component
// too.
func intervalsOf(id element.SetID, m *ebpf.Map, parts []share.Part, report func(error)) (*Intervals, error) {
	var bits []int
	for _, p := range parts {
		if p.Host && p.Bits > 8 {
			return nil, &element.FitError{Set: id, Reason: "has intervals of keys in the machine's byte order"}
		}
		bits = append(bits, p.Bits)
	}
	s, err := tuple.NewSpace(bits, tuple.Widest(bits))
	if err != nil {
		return nil, &element.FitError{Set: id, Reason: "has keys that are too long"}
	}
	if int(m.ValueSize()) != s.Layout().PageBytes() {
		return nil, fmt.Errorf("a map with values of %d bytes, not %d", m.ValueSize(), s.Layout().PageBytes())
	}
	return NewIntervals(s, m, report)
}

// with calls f with the tree, when nobody else uses it.
func (s *treeStore) with(f func(*tree.Tree) error) error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	err := f(s.in.table.Tree())
	if errors.Is(err, tree.ErrFull) {
		err = tooMany(s.id)
	}
	s.in.reclaim()
	return err
}

// replace compares the tree with what is wanted, which comes in order as the tree is. Where little is the same, it
// builds the tree anew.
func (s *treeStore) replace(_ int, entries iter.Seq[entry]) error {
	s.expiry = expiry[string]{}
	return s.with(func(t *tree.Tree) error {
		if t.Len() == 0 {
			return t.Build(s.noted(entries))
		}
		return change(s.differences(t, entries))
	})
}

// noted are entries as elements of the tree, whose time is noted.
func (s *treeStore) noted(entries iter.Seq[entry]) iter.Seq[tree.Element] {
	return func(yield func(tree.Element) bool) {
		for e := range entries {
			s.note(e, e.expires)
			if !yield(treeElement(e)) {
				return
			}
		}
	}
}

// differences are what makes a tree have these entries. Both come in order.
func (s *treeStore) differences(t *tree.Tree, entries iter.Seq[entry]) (tr *tree.Tree, gone, come []tree.Element) {
	next, stop := iter.Pull(t.All())
	defer stop()
	old, more := next()
	for e := range s.noted(entries) {
		for more && slices.Compare(old.First, e.First) < 0 {
			gone = append(gone, old.Clone())
			old, more = next()
		}
		same := false
		if more && slices.Equal(old.First, e.First) {
			if same = slices.Equal(old.Last, e.Last) && old.Data == e.Data; !same {
				gone = append(gone, old.Clone())
			}
			old, more = next()
		}
		if !same {
			come = append(come, e.Clone())
		}
	}
	for ; more; old, more = next() {
		gone = append(gone, old.Clone())
	}
	return t, gone, come
}

func (s *treeStore) apply(gone, come []entry) error {
	return s.with(func(t *tree.Tree) error {
		var out, in []tree.Element
		for _, e := range gone {
			s.note(e, time.Time{})
			if old, ok := t.Find(e.first); ok && slices.Equal(old.First, e.first) && slices.Equal(old.Last, e.last) {
				out = append(out, old)
			}
		}
		for _, e := range come {
			s.note(e, e.expires)
			old, ok := t.Find(e.first)
			if ok && slices.Equal(old.First, e.first) && slices.Equal(old.Last, e.last) {
				if old.Data == e.data {
					continue
				}
				out = append(out, old)
			}
			in = append(in, treeElement(e))
		}
		return change(t, out, in)
	})
}

func (s *treeStore) atomic(n int) bool { return n <= atOnce }

// change takes elements out that are there and puts others in.
func change(t *tree.Tree, gone, come []tree.Element) error {
	if len(gone)+len(come) <= atOnce {
		return t.Apply(gone, come)
	}
	for part := range slices.Chunk(gone, atOnce) {
		if err := t.Apply(part, nil); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(come, atOnce) {
		if err := t.Apply(nil, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *treeStore) expire(now time.Time) (next time.Time, err error) {
	if s.expiry.next().IsZero() {
		return time.Time{}, nil
	}
	err = s.with(func(t *tree.Tree) error {
		var gone []tree.Element
		for {
			key, ok := s.expiry.due(now)
			if !ok {
				return change(t, gone, nil)
			}
			if old, ok := t.Find(unpack(key)); ok && pack(old.First) == key {
				gone = append(gone, old)
			}
		}
	})
	return s.expiry.next(), err
}

func (s *treeStore) find(key []uint64) (entry, bool) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	e, ok := s.in.table.Tree().Find(key)
	return s.entry(e), ok
}

func (s *treeStore) highest() (entry, bool) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	e, ok := s.in.table.Tree().Highest()
	return s.entry(e), ok
}

// entry is an element of the tree with its time.
func (s *treeStore) entry(e tree.Element) entry {
	x := entry{first: e.First, last: e.Last, data: e.Data}
	if len(s.expiry.when) > 0 {
		x.expires = s.expiry.when[pack(e.First)]
	}
	return x
}

func (s *treeStore) all() (int, iter.Seq[entry]) {
	t := s.in.table.Tree()
	return t.Len(), func(yield func(entry) bool) {
		s.in.mu.Lock()
		defer s.in.mu.Unlock()
		for e := range t.All() {
			if !yield(s.entry(e)) {
				return
			}
		}
	}
}

func (s *treeStore) close() error { return s.in.Close() }

func treeElement(e entry) tree.Element {
	return tree.Element{First: e.first, Last: e.last, Data: e.data}
}

// note notes when an entry is over. In most sets none ever is.
func (s *treeStore) note(e entry, expires time.Time) {
	if !expires.IsZero() || len(s.expiry.when) > 0 {
		s.expiry.set(pack(e.first), expires)
	}
}

// pack makes words a string, in the order of keys.
func pack(words []uint64) string {
	b := make([]byte, 0, wordSize*len(words))
	for _, w := range words {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return string(b)
}

func unpack(key string) []uint64 {
	words := make([]uint64, 0, len(key)/wordSize)
	for ; key != ""; key = key[wordSize:] {
		words = append(words, binary.BigEndian.Uint64([]byte(key[:wordSize])))
	}
	return words
}
