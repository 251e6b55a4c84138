package tree

import "fmt"

func (c *change) insert(e Element) error {
	if err := c.layout.check(e); err != nil {
		return err
	}
	c.sum++
	if c.root.page == 0 {
		p, err := c.alloc()
		if err != nil {
			return err
		}
		c.put(p, &c.leaf, 0, c.leafRecord(e))
		c.root = root{page: p}
		return nil
	}
	left, right, err := c.insertBelow(c.root, e, nil)
	if err != nil {
		return err
	}
	c.root.page = left
	if right == 0 {
		return nil
	}
	return c.grow(left, right)
}

// grow puts a root above two pages.
func (c *change) grow(left, right uint32) error {
	if c.root.height == c.maxHeight {
		return fmt.Errorf("%d levels: %w", c.maxHeight, ErrFull)
	}
	p, err := c.alloc()
	if err != nil {
		return err
	}
	c.put(p, &c.inner, 0, c.innerRecord(left))
	c.put(p, &c.inner, 1, c.innerRecord(right))
	c.root = root{page: p, height: c.root.height + 1}
	return nil
}

// insertBelow puts an element below a page. It returns what stands in that page's place: one page, or two. next is the
// key of the element behind the last one below, nil if there is none.
func (c *change) insertBelow(at root, e Element, next []uint32) (left, right uint32, err error) {
	s := c.shape(at.height)
	i := c.find(at.page, s, e.First)
	if at.height > 0 {
		i = max(i, 0)
	}
	if i+1 < int(c.used[at.page]) {
		next = c.record(at.page, s, i+1)[:c.keyCells]
	}
	if at.height == 0 {
		if err := c.overlap(at.page, i, next, e); err != nil {
			return 0, 0, err
		}
		if left, err = c.own(at.page); err != nil {
			return 0, 0, err
		}
		right, err = c.add(left, s, i+1, c.leafRecord(e), next == nil)
		return left, right, err
	}
	low, high, err := c.insertBelow(root{c.child(at.page, i), at.height - 1}, e, next)
	if err != nil {
		return 0, 0, err
	}
	if left, err = c.own(at.page); err != nil {
		return 0, 0, err
	}
	c.refer(left, i, low)
	if high != 0 {
		right, err = c.add(left, s, i+1, c.innerRecord(high), next == nil)
	}
	return left, right, err
}

// overlap looks at the elements on both sides of the place behind record i.
func (c *change) overlap(page uint32, i int, next []uint32, e Element) error {
	if i >= 0 {
		if rec := c.record(page, &c.leaf, i); c.compare(c.last(rec), e.First) >= 0 {
			return &OverlapError{Element: e, With: c.found(rec)}
		}
	}
	if next != nil && c.compare(next, e.Last) <= 0 {
		with := Element{First: make([]uint64, c.layout.words)}
		c.decode(with.First, next)
		with.Last = with.First // where it ends is in another page, perhaps
		return &OverlapError{Element: e, With: with}
	}
	return nil
}

// add puts a record into a page of the change's own, and splits the page if it is full. Behind the end of the tree it
// leaves the page full, so that elements that come in order fill the pages.
func (c *change) add(page uint32, s *shape, i int, rec []uint32, end bool) (right uint32, err error) {
	n := int(c.used[page])
	if n < s.records {
		c.put(page, s, i, rec)
		return 0, nil
	}
	if right, err = c.alloc(); err != nil {
		return 0, err
	}
	if end && i == n {
		c.put(right, s, 0, rec)
		return right, nil
	}
	half := n / 2
	c.move(page, s, half, right)
	if i <= half {
		c.put(page, s, i, rec)
	} else {
		c.put(right, s, i-half, rec)
	}
	return right, nil
}
