package space

// Mask is the values v with v&Bits == Want.
type Mask struct{ Bits, Want Value }

// maskIntervals bounds the intervals that a mask may be written as; one with more stays a mask.
const maskIntervals = 1 << 10

// intervals writes the mask as a set of values of a width, where that is short.
func (m Mask) intervals(width int) (Set, bool) {
	top := highest(width)
	if !m.Want.andNot(m.Bits.and(top)).isZero() {
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
				v = v.or(Number(1).shiftLeft(b))
			}
		}
		out = append(out, Interval{v, v.or(highest(low))})
	}
	return SetOf(out), true
}

// atLeast is the smallest value of the mask that is not below v.
func (m Mask) atLeast(v Value, width int) (Value, bool) {
	c := m.Want.or(v.andNot(m.Bits))
	diff := c.xor(v)
	if diff.isZero() {
		return v, true
	}
	p := diff.length() - 1
	if c.bit(p) {
		// Larger already at bit p: free bits below it may be 0.
		return v.shiftRight(p).shiftLeft(p).or(Number(1).shiftLeft(p)).or(m.Want.and(highest(p))), true
	}
	for q := p + 1; q < width; q++ {
		if !m.Bits.bit(q) && !v.bit(q) {
			return v.shiftRight(q).shiftLeft(q).or(Number(1).shiftLeft(q)).or(m.Want.and(highest(q))), true
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
	return !m.Want.xor(n.Want).and(m.Bits).and(n.Bits).isZero()
}
