package tree

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
)

// Options are what a tree is made with.
type Options struct {
	// Reserved is the number of pages behind the header that are not the tree's.
	Reserved int
	// Grace returns when no reader is left that began before the call. Nil: there are none.
	Grace func() error
}

// Tree is the writer's side. It is not safe for use by several goroutines.
type Tree struct {
	arena       []uint32
	layout      Layout
	leaf, inner shape
	cells       int // of a page
	keyCells    int // of a key
	maxHeight   int
	wide        bool // words of 8 bytes

	used  []uint16 // records of each page
	born  []uint32 // the change that each page was made in
	free  []uint32
	limbo []uint32 // replaced, perhaps still read; the oldest first
	total uint64   // pages that ever came into limbo
	first uint32   // the tree's first page
	next  uint32   // pages from here on were never used
	now   uint32   // the change that is under way
	len   int
	grace func() error
}

// root is where a search begins.
type root struct {
	page   uint32 // 0: the tree is empty
	height int
}

// New makes an empty tree of an arena, which is zero or is not read by anybody.
func New(arena []uint32, l Layout, o Options) (*Tree, error) {
	cells := l.PageBytes() / cell
	pages := len(arena) / cells
	if l.words == 0 || o.Reserved < 0 || pages < o.Reserved+2 {
		return nil, fmt.Errorf("make a tree: %d pages of %d bytes: %w", pages, l.PageBytes(), ErrFull)
	}
	t := &Tree{
		arena: arena[:pages*cells], layout: l, leaf: l.Leaf().shape(), inner: l.Inner().shape(),
		maxHeight: l.Height(pages),
		cells:     cells, keyCells: l.words * l.WordBytes() / cell, wide: l.WordBytes() == 2*cell,
		used: make([]uint16, pages), born: make([]uint32, pages), first: uint32(1 + o.Reserved), next: uint32(1 + o.Reserved), grace: o.Grace,
	}
	t.publish(root{})
	return t, nil
}

// Layout is what New was given.
func (t *Tree) Layout() Layout { return t.layout }

// Len is the number of elements.
func (t *Tree) Len() int { return t.len }

// Bytes is the size of the pages that hold elements.
func (t *Tree) Bytes() int {
	return (int(t.next-t.first) - len(t.free) - len(t.limbo)) * t.layout.PageBytes()
}

// Reserved is the cells of a page of the caller's, from 0.
func (t *Tree) Reserved(page int) []uint32 {
	at := (1 + page) * t.cells
	return t.arena[at : at+t.cells : at+t.cells]
}

// Header is the cells of the header behind the root, which are the caller's.
func (t *Tree) Header() []uint32 { return t.arena[1:t.cells:t.cells] }

// Grace waits for the readers. The caller needs it before it gives what it has in reserved pages another meaning.
func (t *Tree) Grace() error {
	if t.grace != nil {
		if err := t.grace(); err != nil {
			return fmt.Errorf("wait for readers of a tree: %w", err)
		}
	}
	t.Release(t.Mark())
	return nil
}

// Mark is now, for Release.
func (t *Tree) Mark() uint64 { return t.total }

// Release says that no reader is left that began before a Mark: what a writer does that does not want changes to wait for
// Options.Grace.
func (t *Tree) Release(mark uint64) {
	n := len(t.limbo) - int(t.total-mark)
	if n <= 0 {
		return
	}
	t.free = append(t.free, t.limbo[:n]...)
	t.limbo = slices.Delete(t.limbo, 0, n)
}

// Waiting is the number of pages that cannot be used before a period of grace, and spare the number of those that can.
func (t *Tree) Waiting() (waiting, spare int) {
	return len(t.limbo), len(t.free) + len(t.used) - int(t.next)
}

func (t *Tree) root() root {
	n := t.arena[0]
	return root{page: n >> HeightBits, height: int(n & MaxHeight)}
}

func (t *Tree) publish(r root) {
	atomic.StoreUint32(&t.arena[0], r.page<<HeightBits|uint32(r.height))
}

// Lookup is the data of the element that has the key. It searches as the generated instructions do.
func (t *Tree) Lookup(key []uint64) (data uint32, ok bool) {
	return t.lookup(t.root(), key)
}

func (t *Tree) lookup(r root, key []uint64) (data uint32, ok bool) {
	if r.page == 0 || len(key) != t.layout.words {
		return 0, false
	}
	page := r.page
	for range r.height {
		page = t.child(page, max(0, t.search(page, &t.inner, key)))
	}
	rec := t.record(page, &t.leaf, t.search(page, &t.leaf, key))
	if t.compare(rec, key) > 0 || t.compare(t.last(rec), key) < 0 {
		return 0, false
	}
	return rec[t.leaf.value], true
}

// search is the last record of a page whose key is not above this one, those included that repeat the last; or 0.
func (t *Tree) search(page uint32, s *shape, key []uint64) int {
	at := 0
	for _, step := range Steps(s.records) {
		if t.compare(t.record(page, s, at+step), key) <= 0 {
			at += step
		}
	}
	return at
}

// Steps are the steps of a search among so many records: beginning at record 0, it goes on by a step if the record
// there is not above the key.
func Steps(records int) []int {
	var steps []int
	for n := records; n > 1; {
		half := n / 2
		steps = append(steps, half)
		n -= half
	}
	return steps
}

// All are the elements in order. Their keys are good until the next one; the tree must not change meanwhile.
func (t *Tree) All() iter.Seq[Element] {
	return func(yield func(Element) bool) {
		if r := t.root(); r.page != 0 {
			e := Element{First: make([]uint64, t.layout.words), Last: make([]uint64, t.layout.words)}
			t.walk(r.page, r.height, &e, yield)
		}
	}
}

func (t *Tree) walk(page uint32, height int, e *Element, yield func(Element) bool) bool {
	for i := range int(t.used[page]) {
		if height > 0 {
			if !t.walk(t.child(page, i), height-1, e, yield) {
				return false
			}
			continue
		}
		t.element(t.record(page, &t.leaf, i), e)
		if !yield(*e) {
			return false
		}
	}
	return true
}

// element reads a leaf's record.
func (t *Tree) element(rec []uint32, e *Element) {
	t.decode(e.First, rec)
	t.decode(e.Last, t.last(rec))
	e.Data = rec[t.leaf.value]
}

// found is a leaf's record as an element of its own.
func (t *Tree) found(rec []uint32) Element {
	e := Element{First: make([]uint64, t.layout.words), Last: make([]uint64, t.layout.words)}
	t.element(rec, &e)
	return e
}

// Sorted puts elements in the order that Build wants.
func Sorted(elements []Element) {
	slices.SortFunc(elements, func(a, b Element) int { return slices.Compare(a.First, b.First) })
}
