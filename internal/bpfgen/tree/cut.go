package tree

import (
	"container/heap"
	"slices"
)

// Cut makes disjoint elements of such that overlap: each key gets the lowest data of the elements that have it. So rules
// in a table, whose data is their place, keep their order; and a set becomes the union of its elements. Neighbours of
// the same data become one. There are fewer than twice as many elements as before. The input is sorted in place.
func (l Layout) Cut(elements []Element) ([]Element, error) {
	for _, e := range elements {
		if err := l.check(e); err != nil {
			return nil, err
		}
	}
	Sorted(elements)
	c := cutter{layout: l, rest: elements}
	for c.piece() {
	}
	return c.out, nil
}

// cutter goes through the keys in order.
type cutter struct {
	layout Layout
	rest   []Element // begin later
	open   byData    // have begun
	at     []uint64  // the next key
	out    []Element
}

// piece writes the next piece. It returns false when there is none.
func (c *cutter) piece() bool {
	for len(c.open) > 0 && (c.at == nil || slices.Compare(c.open[0].Last, c.at) < 0) {
		heap.Pop(&c.open)
	}
	if len(c.open) == 0 {
		if len(c.rest) == 0 {
			return false
		}
		c.at = c.rest[0].First
	}
	for len(c.rest) > 0 && slices.Compare(c.rest[0].First, c.at) <= 0 {
		c.begin()
	}
	best := c.open[0]
	if slices.Compare(best.Last, c.at) < 0 {
		return true
	}
	end := best.Last
	for len(c.rest) > 0 && slices.Compare(c.rest[0].First, end) <= 0 {
		if c.rest[0].Data < best.Data {
			end = c.layout.before(c.rest[0].First)
			break
		}
		c.begin()
	}
	c.write(Element{First: c.at, Last: end, Data: best.Data})
	c.at = c.layout.after(end)
	if c.at == nil {
		c.open, c.rest = nil, nil
	}
	return true
}

func (c *cutter) begin() {
	heap.Push(&c.open, c.rest[0])
	c.rest = c.rest[1:]
}

func (c *cutter) write(e Element) {
	if n := len(c.out); n > 0 && c.out[n-1].Data == e.Data && slices.Equal(c.layout.after(c.out[n-1].Last), e.First) {
		c.out[n-1].Last = e.Last
		return
	}
	c.out = append(c.out, e)
}

// after is the next key; nil behind the last.
func (l Layout) after(key []uint64) []uint64 {
	key = slices.Clone(key)
	for i := l.words - 1; i >= 0; i-- {
		if key[i] < l.top(i) {
			key[i]++
			return key
		}
		key[i] = 0
	}
	return nil
}

// before is the key before one that is not the first.
func (l Layout) before(key []uint64) []uint64 {
	key = slices.Clone(key)
	for i := l.words - 1; i >= 0; i-- {
		if key[i] > 0 {
			key[i]--
			return key
		}
		key[i] = l.top(i)
	}
	return key
}

// byData is a heap whose first has the lowest data.
type byData []Element

func (h byData) Len() int           { return len(h) }
func (h byData) Less(i, j int) bool { return h[i].Data < h[j].Data }
func (h byData) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is of heap.Interface.
func (h *byData) Push(e any) { *h = append(*h, e.(Element)) }

// Pop is of heap.Interface.
func (h *byData) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}
