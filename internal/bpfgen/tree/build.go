package tree

import (
	"fmt"
	"iter"
	"slices"
)

// Build puts elements, which come in order, in the place of all there are. Their keys are used only until the next one.
func (t *Tree) Build(elements iter.Seq[Element]) error {
	c := t.begin()
	c.bury(c.root)
	c.root, c.sum = root{}, -t.len
	pages, err := c.leaves(elements)
	for err == nil && len(pages) > 1 {
		pages, err = c.above(pages)
	}
	if err != nil {
		return c.abort("build a tree", err)
	}
	if len(pages) == 1 {
		c.root.page = pages[0]
	}
	c.commit()
	return nil
}

// bury declares all pages of a tree dead.
func (c *change) bury(r root) {
	if r.page == 0 {
		return
	}
	for i := range int(c.used[r.page]) {
		if r.height > 0 {
			c.bury(root{c.child(r.page, i), r.height - 1})
		}
	}
	c.dead = append(c.dead, r.page)
}

// room is how many records a page gets at first: some places are left for changes.
func room(records int) int { return records - records/8 }

func (c *change) leaves(elements iter.Seq[Element]) (pages []uint32, err error) {
	last := make([]uint64, c.layout.words)
	for e := range elements {
		if err := c.layout.check(e); err != nil {
			return nil, err
		}
		if c.len+c.sum > 0 && slices.Compare(e.First, last) <= 0 {
			return nil, &OverlapError{Element: e, With: Element{First: last, Last: last}}
		}
		copy(last, e.Last)
		if pages, err = c.extend(pages, &c.leaf, c.leafRecord(e)); err != nil {
			return nil, err
		}
		c.sum++
	}
	c.padLast(pages, &c.leaf)
	return pages, nil
}

// above puts inner pages above pages.
func (c *change) above(below []uint32) (pages []uint32, err error) {
	if c.root.height++; c.root.height > c.maxHeight {
		return nil, fmt.Errorf("%d levels: %w", c.maxHeight, ErrFull)
	}
	for _, p := range below {
		if pages, err = c.extend(pages, &c.inner, c.innerRecord(p)); err != nil {
			return nil, err
		}
	}
	c.padLast(pages, &c.inner)
	return pages, nil
}

// extend puts a record behind the others of the last page, or in a new one.
func (c *change) extend(pages []uint32, s *shape, rec []uint32) ([]uint32, error) {
	if n := len(pages); n > 0 && int(c.used[pages[n-1]]) < room(s.records) {
		p := pages[n-1]
		c.used[p]++
		copy(c.record(p, s, int(c.used[p])-1), rec)
		return pages, nil
	}
	c.padLast(pages, s)
	p, err := c.alloc()
	if err != nil {
		return nil, err
	}
	c.used[p] = 1
	copy(c.record(p, s, 0), rec)
	return append(pages, p), nil
}

func (c *change) padLast(pages []uint32, s *shape) {
	if len(pages) > 0 {
		c.pad(pages[len(pages)-1], s)
	}
}
