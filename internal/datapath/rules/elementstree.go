package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// treeStore has intervals in a search tree. The tree is the only copy of the keys; what expires is in expiry besides.
type treeStore struct {
	id     element.SetID
	arena  []byte
	tree   *tree.Tree
	expiry expiry[string] // by the words of the first key
}

// atOnce is the most elements that are changed at once for readers. A change needs room for new pages, one for each
// element in the worst case.
const atOnce = 1 << 10

func newTreeStore(id element.SetID, m *ebpf.Map, part share.Part) (store, error) {
	if part.Host && part.Bits > 8 {
		return nil, &element.FitError{Set: id, Reason: "has intervals of keys in the machine's byte order"}
	}
	var bits []int
	for n := part.Bits; n > 0; n -= element.WordBits {
		bits = append([]int{min(n, element.WordBits)}, bits...)
	}
	layout, err := tree.NewLayout(bits...)
	if err != nil {
		return nil, err
	}
	arena, err := mapArena(m, layout)
	if err != nil {
		return nil, err
	}
	t, err := tree.New(cells(arena), layout, tree.Options{Grace: grace})
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(arena))
	}
	return &treeStore{id: id, arena: arena, tree: t}, nil
}

// mapArena maps the values of an array map into this process (BPF_F_MMAPABLE).
func mapArena(m *ebpf.Map, l tree.Layout) ([]byte, error) {
	if int(m.ValueSize()) != l.PageBytes() {
		return nil, fmt.Errorf("a map with values of %d bytes, not %d", m.ValueSize(), l.PageBytes())
	}
	size := int(m.ValueSize()) * int(m.MaxEntries())
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of a map into memory: %w", size, err)
	}
	return b, nil
}

// cells is the arena as package tree writes it. A mapping begins at a page, so that it is aligned.
func cells(arena []byte) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(arena))), len(arena)/4)
}

// grace waits for all programs that run: MEMBARRIER_CMD_GLOBAL is synchronize_rcu (kernel/sched/membarrier.c).
func grace() error {
	const global = 1 // MEMBARRIER_CMD_GLOBAL
	if _, _, err := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); err != 0 {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

// replace compares the tree with what is wanted, which comes in order as the tree is. Where little is the same, it
// builds the tree anew.
func (s *treeStore) replace(_ int, entries func(yield func(entry) bool)) error {
	s.expiry = expiry[string]{}
	var gone, come []tree.Element
	if s.tree.Len() == 0 {
		return s.full(s.tree.Build(func(yield func(tree.Element) bool) {
			for e := range entries {
				s.note(e, e.expires)
				if !yield(treeElement(e)) {
					return
				}
			}
		}))
	}
	next, stop := iter.Pull(s.tree.All())
	defer stop()
	old, more := next()
	for e := range entries {
		s.note(e, e.expires)
		for more && slices.Compare(old.First, e.first) < 0 {
			gone = append(gone, old.Clone())
			old, more = next()
		}
		if more && slices.Equal(old.First, e.first) {
			same := slices.Equal(old.Last, e.last) && old.Data == e.data
			if !same {
				gone = append(gone, old.Clone())
			}
			old, more = next()
			if same {
				continue
			}
		}
		come = append(come, treeElement(e).Clone())
	}
	for ; more; old, more = next() {
		gone = append(gone, old.Clone())
	}
	stop()
	return s.change(gone, come)
}

func (s *treeStore) apply(gone, come []entry) error {
	var out, in []tree.Element
	for _, e := range gone {
		s.note(e, time.Time{})
		if old, ok := s.tree.Find(e.first); ok && slices.Equal(old.First, e.first) && slices.Equal(old.Last, e.last) {
			out = append(out, old)
		}
	}
	for _, e := range come {
		s.note(e, e.expires)
		old, ok := s.tree.Find(e.first)
		if ok && slices.Equal(old.First, e.first) && slices.Equal(old.Last, e.last) {
			if old.Data == e.data {
				continue
			}
			out = append(out, old)
		}
		in = append(in, treeElement(e))
	}
	return s.change(out, in)
}

func (s *treeStore) atomic(n int) bool { return n <= atOnce }

// change takes elements out that are there and puts others in.
func (s *treeStore) change(gone, come []tree.Element) error {
	if len(gone)+len(come) <= atOnce {
		return s.full(s.tree.Apply(gone, come))
	}
	for part := range slices.Chunk(gone, atOnce) {
		if err := s.tree.Apply(part, nil); err != nil {
			return s.full(err)
		}
	}
	for part := range slices.Chunk(come, atOnce) {
		if err := s.tree.Apply(nil, part); err != nil {
			return s.full(err)
		}
	}
	return nil
}

func (s *treeStore) full(err error) error {
	if errors.Is(err, tree.ErrFull) {
		return &FullError{Set: s.id}
	}
	return err
}

func (s *treeStore) expire(now time.Time) (time.Time, error) {
	var gone []tree.Element
	for {
		key, ok := s.expiry.due(now)
		if !ok {
			return s.expiry.next(), s.change(gone, nil)
		}
		if old, ok := s.tree.Find(unpack(key)); ok && pack(old.First) == key {
			gone = append(gone, old)
		}
	}
}

func (s *treeStore) find(key []uint64) (entry, bool) {
	e, ok := s.tree.Find(key)
	if !ok {
		return entry{}, false
	}
	return entry{first: e.First, last: e.Last, data: e.Data, expires: s.expiry.when[pack(e.First)]}, true
}

func (s *treeStore) close() error {
	if err := unix.Munmap(s.arena); err != nil {
		return fmt.Errorf("unmap a map from memory: %w", err)
	}
	return nil
}

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
