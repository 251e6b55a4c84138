package tree

func (c *change) delete(e Element) error {
	if err := c.layout.check(e); err != nil {
		return err
	}
	if c.root.page == 0 {
		return &MissingError{e}
	}
	page, err := c.deleteBelow(c.root, e)
	if err != nil {
		return err
	}
	c.sum--
	if page == 0 {
		c.root = root{}
		return nil
	}
	c.root.page = page
	for c.root.height > 0 && c.used[c.root.page] == 1 {
		top := c.root.page
		c.root = root{page: c.child(top, 0), height: c.root.height - 1}
		c.dead = append(c.dead, top)
	}
	return nil
}

// deleteBelow takes an element out below a page and returns the page that stands in its place, 0 for none.
func (c *change) deleteBelow(at root, e Element) (uint32, error) {
	s := c.shape(at.height)
	i := c.find(at.page, s, e.First)
	if i < 0 {
		return 0, &MissingError{e}
	}
	if at.height == 0 {
		rec := c.record(at.page, s, i)
		if c.compare(rec, e.First) != 0 || c.compare(c.last(rec), e.Last) != 0 {
			return 0, &MissingError{e}
		}
		return c.without(at.page, s, i)
	}
	below, err := c.deleteBelow(root{c.child(at.page, i), at.height - 1}, e)
	if err != nil {
		return 0, err
	}
	if below == 0 {
		return c.without(at.page, s, i)
	}
	page, err := c.own(at.page)
	if err != nil {
		return 0, err
	}
	c.refer(page, i, below)
	return page, c.merge(page, i, at.height-1)
}

// without takes a record out of a page; the page goes with its last one.
func (c *change) without(page uint32, s *shape, i int) (uint32, error) {
	page, err := c.own(page)
	if err != nil {
		return 0, err
	}
	c.remove(page, s, i)
	if c.used[page] == 0 {
		c.dead = append(c.dead, page)
		return 0, nil
	}
	return page, nil
}

// merge joins the page below record i, which is the change's own, with one of its neighbours, if both fit into one with
// some room left: so pages stay about half full, whatever is taken out.
func (c *change) merge(page uint32, i, height int) error {
	s := c.shape(height)
	below := c.child(page, i)
	if int(c.used[below]) >= s.records/2 {
		return nil
	}
	for _, l := range [...]int{i - 1, i} {
		if l < 0 || l+1 >= int(c.used[page]) {
			continue
		}
		left, right := c.child(page, l), c.child(page, l+1)
		if int(c.used[left])+int(c.used[right]) > room(s.records) {
			continue
		}
		into, err := c.own(left)
		if err != nil {
			return err
		}
		c.copyTo(right, s, 0, into)
		c.dead = append(c.dead, right)
		c.refer(page, l, into)
		c.remove(page, &c.inner, l+1)
		return nil
	}
	return nil
}
