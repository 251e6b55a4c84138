package tree

// Find is the element that has a key.
func (t *Tree) Find(key []uint64) (Element, bool) {
	r := t.root()
	if r.page == 0 || len(key) != t.layout.words {
		return Element{}, false
	}
	page := r.page
	for range r.height {
		page = t.child(page, max(0, t.search(page, &t.inner, key)))
	}
	rec := t.record(page, &t.leaf, t.search(page, &t.leaf, key))
	if t.compare(rec, key) > 0 || t.compare(t.last(rec), key) < 0 {
		return Element{}, false
	}
	return t.found(rec), true
}

// Highest is the element with the highest keys.
func (t *Tree) Highest() (Element, bool) {
	r := t.root()
	if r.page == 0 {
		return Element{}, false
	}
	page := r.page
	for range r.height {
		page = t.child(page, int(t.used[page])-1)
	}
	return t.found(t.record(page, &t.leaf, int(t.used[page])-1)), true
}
