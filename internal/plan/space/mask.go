package space

// Mask is the values v with v&Bits == Want.
type Mask struct{ Bits, Want Value }

// maskIntervals bounds the intervals that a mask may be written as; one with more stays a mask.
const maskIntervals = 1 << 10

// intervals writes the mask as a set of values of a width, where that is short.
func (m Mask) intervals(width int) (Set, bool) {
	top := Highest(width)
	if !m.Want.AndNot(m.Bits.And(top)).IsZero() {
		return nil, true // no value has a bit that was masked away
	}
	low := 0 // bits below the mask: an interval
	for low < width && !m.Bits.bit(low) {
		low++
	}
	var free []int
	for i := low; i < width; i++ {
		if !m.Bits.bit(i) {
			free = append(free, i)
		}
		if 1<<len(free) > maskIntervals {
			return nil, false
		}
	}
	out := make([]Interval, 0, 1<<len(free))
	for n := range 1 << len(free) {
		v := m.Want
		for i, b := range free {
			if n>>i&1 == 1 {
				v = v.Or(Number(1).ShiftLeft(b))
			}
		}
		out = append(out, Interval{v, v.Or(Highest(low))})
	}
	return SetOf(out), true
}

// atLeast is the smallest value of the mask that is not below v.
func (m Mask) atLeast(v Value, width int) (Value, bool) {
	c := m.Want.Or(v.AndNot(m.Bits))
	diff := c.Xor(v)
	if diff.IsZero() {
		return v, true
	}
	p := diff.length() - 1
	if c.bit(p) {
		// Larger already at bit p: free bits below it may be 0.
		return v.ShiftRight(p).ShiftLeft(p).Or(Number(1).ShiftLeft(p)).Or(m.Want.And(Highest(p))), true
	}
	for q := p + 1; q < width; q++ {
		if !m.Bits.bit(q) && !v.bit(q) {
			return v.ShiftRight(q).ShiftLeft(q).Or(Number(1).ShiftLeft(q)).Or(m.Want.And(Highest(q))), true
		}
	}
	return Value{}, false
}

// meets reports whether some value of a set has the mask.
func (m Mask) meets(s Set, width int) bool {
	for _, iv := range s {
		if v, ok := m.atLeast(iv.First, width); ok && v.Compare(iv.Last) <= 0 {
			return true
		}
	}
	return false
}

// disjoint reports whether no value has both masks.
func (m Mask) disjoint(n Mask) bool {
	return !m.Want.Xor(n.Want).And(m.Bits).And(n.Bits).IsZero()
}

// Masks writes a set of values of a width as masks that exclude each other: one where that is possible, else one for
// each block of a power of two, or for each value where they have to be whole. It is false where that takes more than
// most.
func (s Set) Masks(width, most int, whole bool) ([]Mask, bool) {
	if m, ok := s.oneMask(width); ok && (!whole || m.Whole(width)) {
		return []Mask{m}, true
	}
	if len(s) > most {
		return nil, false
	}
	var out []Mask
	for _, iv := range s {
		for first := iv.First; ; {
			n := 0
			if !whole {
				n = block(first, iv.Last, width)
			}
			free := Highest(n)
			out = append(out, Mask{Bits: Highest(width).AndNot(free), Want: first})
			if len(out) > most {
				return nil, false
			}
			end := first.Or(free)
			if end.Compare(iv.Last) >= 0 {
				break
			}
			first = end.next()
		}
	}
	return out, true
}

// block is the largest number of free low bits in a block that begins at first and does not reach beyond last.
func block(first, last Value, width int) int {
	n := 0
	for n < width && first.And(Highest(n+1)).IsZero() && first.Or(Highest(n+1)).Compare(last) <= 0 {
		n++
	}
	return n
}

// oneMask finds the mask whose values are just those of a set, for fields of few bits.
func (s Set) oneMask(width int) (Mask, bool) {
	const mostBits = 16
	if width > mostBits || len(s) == 0 {
		return Mask{}, false
	}
	same := Highest(width)
	count := uint64(0)
	want := s[0].First
	for _, iv := range s {
		same = same.AndNot(iv.First.Xor(want)).AndNot(Highest(iv.Open()))
		count += iv.Last.Lo - iv.First.Lo + 1
	}
	if count != 1<<(width-same.ones()) {
		return Mask{}, false
	}
	return Mask{same, want.And(same)}, true
}

// Whole reports whether the mask is over all bits of a width: one value.
func (m Mask) Whole(width int) bool { return m.Bits == Highest(width) }

// Length is the length of the prefix that the mask is; false where it is none.
func (m Mask) Length(width int) (int, bool) {
	n := m.Bits.ones()
	return n, m.Bits == Highest(width).AndNot(Highest(width-n))
}
