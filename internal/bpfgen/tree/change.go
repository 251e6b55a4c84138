package tree

import (
	"fmt"
)

// change is what is being made of a tree and no reader sees yet.
type change struct {
	*Tree
	root root
	born []uint32 // pages that are free again if the change fails
	dead []uint32 // pages that are not of the tree once it is published, those of born included
	rec  []uint32 // a record, on its way into a page
	sum  int      // elements more than before
}

// Apply takes elements out and puts others in, at once for readers; or changes nothing and returns an error. Elements
// that are taken out are known by their keys. Room for the change is needed beside the tree as it is: a batch that
// touches every page needs as much again.
func (t *Tree) Apply(gone, come []Element) error {
	c := t.begin()
	for _, e := range gone {
		if err := c.delete(e); err != nil {
			return c.abort("take an element out of a tree", err)
		}
	}
	for _, e := range come {
		if err := c.insert(e); err != nil {
			return c.abort("put an element into a tree", err)
		}
	}
	c.commit()
	return nil
}

// Insert puts one element in.
func (t *Tree) Insert(e Element) error { return t.Apply(nil, []Element{e}) }

// Delete takes the element of these keys out.
func (t *Tree) Delete(first, last []uint64) error {
	return t.Apply([]Element{{First: first, Last: last}}, nil)
}

func (t *Tree) begin() *change {
	t.now++
	return &change{Tree: t, root: t.root(), rec: make([]uint32, max(t.leaf.stride, t.inner.stride))}
}

// commit publishes the change.
func (c *change) commit() {
	c.publish(c.root)
	c.limbo = append(c.limbo, c.dead...)
	c.total += uint64(len(c.dead))
	c.len += c.sum
}

// abort forgets the change.
func (c *change) abort(what string, err error) error {
	c.free = append(c.free, c.born...)
	return fmt.Errorf("%s: %w", what, err)
}

// alloc finds an empty page.
func (c *change) alloc() (uint32, error) {
	if len(c.free) == 0 && int(c.next) == len(c.used) && len(c.limbo) > 0 {
		if err := c.Grace(); err != nil {
			return 0, err
		}
	}
	var p uint32
	switch n := len(c.free); {
	case n > 0:
		p = c.free[n-1]
		c.free = c.free[:n-1]
	case int(c.next) < len(c.used):
		p = c.next
		c.next++
	default:
		return 0, fmt.Errorf("%d elements in %d pages of %d bytes: %w", c.len+c.sum, len(c.used), c.layout.PageBytes(), ErrFull)
	}
	c.used[p], c.Tree.born[p] = 0, c.now
	c.born = append(c.born, p)
	return p, nil
}

// own is a page that may be written: this one, if the change has made it, or a copy.
func (c *change) own(page uint32) (uint32, error) {
	if c.Tree.born[page] == c.now {
		return page, nil
	}
	p, err := c.alloc()
	if err != nil {
		return 0, err
	}
	copy(c.arena[int(p)*c.cells:(int(p)+1)*c.cells], c.arena[int(page)*c.cells:])
	c.used[p] = c.used[page]
	c.dead = append(c.dead, page)
	return p, nil
}

func (c *change) leafRecord(e Element) []uint32 {
	rec := c.rec[:c.leaf.stride]
	clear(rec)
	c.encode(rec, e.First)
	c.encode(rec[c.keyCells:], e.Last)
	rec[c.leaf.value] = e.Data
	return rec
}

// innerRecord stands for the page below: it has the lowest key there.
func (c *change) innerRecord(page uint32) []uint32 {
	rec := c.rec[:c.inner.stride]
	clear(rec)
	copy(rec[:c.keyCells], c.arena[int(page)*c.cells:])
	rec[c.inner.value] = page
	return rec
}

// refer makes record i of an inner page stand for the page below.
func (c *change) refer(page uint32, i int, below uint32) {
	copy(c.record(page, &c.inner, i), c.innerRecord(below))
	c.pad(page, &c.inner)
}
