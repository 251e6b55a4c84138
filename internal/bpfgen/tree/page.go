package tree

// shape is a Node in cells of the arena.
type shape struct{ records, stride, value int }

func (n Node) shape() shape { return shape{n.Records, n.Stride / cell, n.Value / cell} }

// shape is how the pages at a height lie.
func (t *Tree) shape(height int) *shape {
	if height == 0 {
		return &t.leaf
	}
	return &t.inner
}

// record is a record's cells.
func (t *Tree) record(page uint32, s *shape, i int) []uint32 {
	at := int(page)*t.cells + i*s.stride
	return t.arena[at : at+s.stride : at+s.stride]
}

// last is the last key of a leaf's record.
func (t *Tree) last(rec []uint32) []uint32 { return rec[t.keyCells : 2*t.keyCells] }

// child is the number of the page below an inner page's record.
func (t *Tree) child(page uint32, i int) uint32 { return t.record(page, &t.inner, i)[t.inner.value] }

// encode writes a key.
func (t *Tree) encode(to []uint32, key []uint64) {
	if t.wide {
		for i, w := range key {
			to[2*i], to[2*i+1] = uint32(w), uint32(w>>32)
		}
		return
	}
	for i, w := range key {
		to[i] = uint32(w)
	}
}

// decode reads a key.
func (t *Tree) decode(key []uint64, from []uint32) {
	if t.wide {
		for i := range key {
			key[i] = uint64(from[2*i]) | uint64(from[2*i+1])<<32
		}
		return
	}
	for i := range key {
		key[i] = uint64(from[i])
	}
}

// compare orders the key at the start of some cells and another one: -1, 0 or 1.
func (t *Tree) compare(cells []uint32, key []uint64) int {
	for i, w := range key {
		var v uint64
		if t.wide {
			v = uint64(cells[2*i]) | uint64(cells[2*i+1])<<32
		} else {
			v = uint64(cells[i])
		}
		if v != w {
			if v < w {
				return -1
			}
			return 1
		}
	}
	return 0
}

// find is the last record whose key is not above this one, or -1.
func (t *Tree) find(page uint32, s *shape, key []uint64) int {
	lo, hi := 0, int(t.used[page])
	for lo < hi {
		mid := (lo + hi) / 2
		if t.compare(t.record(page, s, mid), key) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// put makes room for a record.
func (t *Tree) put(page uint32, s *shape, i int, rec []uint32) {
	at := int(page) * t.cells
	end := at + int(t.used[page])*s.stride
	copy(t.arena[at+(i+1)*s.stride:end+s.stride], t.arena[at+i*s.stride:end])
	copy(t.record(page, s, i), rec)
	t.used[page]++
	t.pad(page, s)
}

// remove takes a record out. A page that has none left must not be published.
func (t *Tree) remove(page uint32, s *shape, i int) {
	at := int(page) * t.cells
	end := at + int(t.used[page])*s.stride
	copy(t.arena[at+i*s.stride:end], t.arena[at+(i+1)*s.stride:end])
	t.used[page]--
	t.pad(page, s)
}

// move takes the records from one on to the end of another page, which comes before or behind it.
func (t *Tree) move(from uint32, s *shape, i int, to uint32) {
	t.copyTo(from, s, i, to)
	t.used[from] = uint16(i)
	t.pad(from, s)
}

// copyTo writes the records from one on behind those of another page.
func (t *Tree) copyTo(from uint32, s *shape, i int, to uint32) {
	n := int(t.used[from]) - i
	src := int(from)*t.cells + i*s.stride
	dst := int(to)*t.cells + int(t.used[to])*s.stride
	copy(t.arena[dst:dst+n*s.stride], t.arena[src:])
	t.used[to] += uint16(n)
	t.pad(to, s)
}

// pad repeats the last record up to the end of the page.
func (t *Tree) pad(page uint32, s *shape) {
	n := int(t.used[page])
	if n == 0 {
		return
	}
	last := t.record(page, s, n-1)
	for i := n; i < s.records; i++ {
		copy(t.record(page, s, i), last)
	}
}
