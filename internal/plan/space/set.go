package space

import "slices"

// Interval is the values from First to Last, both included.
type Interval struct{ First, Last Value }

// Set is a set of values: intervals in ascending order with at least one value between two. It is never changed.
type Set []Interval

// One is the set of one value.
func One(v Value) Set { return Set{{v, v}} }

// Span is the set of an interval; empty when it ends before it begins.
func Span(first, last Value) Set {
	if first.Compare(last) > 0 {
		return nil
	}
	return Set{{first, last}}
}

// Full is the set of all values of a width.
func Full(width int) Set { return Set{{Value{}, Highest(width)}} }

// SetOf makes a set of intervals in any order, overlapping or not. It takes the slice over.
func SetOf(ivs []Interval) Set {
	ivs = slices.DeleteFunc(ivs, func(iv Interval) bool { return iv.First.Compare(iv.Last) > 0 })
	slices.SortFunc(ivs, func(a, b Interval) int {
		if c := a.First.Compare(b.First); c != 0 {
			return c
		}
		return a.Last.Compare(b.Last)
	})
	out := ivs[:0]
	for _, iv := range ivs {
		if n := len(out); n > 0 && touches(out[n-1], iv) {
			if out[n-1].Last.Compare(iv.Last) < 0 {
				out[n-1].Last = iv.Last
			}
			continue
		}
		out = append(out, iv)
	}
	return Set(out)
}

// touches reports whether b, which does not begin before a, continues it without a gap.
func touches(a, b Interval) bool {
	return b.First.Compare(a.Last) <= 0 || a.Last.next() == b.First
}

// Empty reports whether there is no value in the set.
func (s Set) Empty() bool { return len(s) == 0 }

// Single returns the only value of a set of one.
func (s Set) Single() (Value, bool) {
	if len(s) != 1 || s[0].First != s[0].Last {
		return Value{}, false
	}
	return s[0].First, true
}

// Contains reports whether a value is in the set.
func (s Set) Contains(v Value) bool {
	i := s.from(v)
	return i < len(s) && s[i].First.Compare(v) <= 0
}

// from is the index of the first interval that ends at v or later.
func (s Set) from(v Value) int {
	i, _ := slices.BinarySearchFunc(s, v, func(iv Interval, v Value) int { return iv.Last.Compare(v) })
	return i
}

// Not is all values of a width that are not in the set.
func (s Set) Not(width int) Set {
	var out Set
	first, top := Value{}, Highest(width)
	for _, iv := range s {
		if first.Compare(iv.First) < 0 {
			out = append(out, Interval{first, iv.First.prev()})
		}
		if iv.Last.Compare(top) >= 0 {
			return out
		}
		first = iv.Last.next()
	}
	return append(out, Interval{first, top})
}

// Meet is what both sets have.
func (s Set) Meet(t Set) Set {
	if len(s) > len(t) {
		s, t = t, s
	}
	var out Set
	for _, iv := range s {
		for i := t.from(iv.First); i < len(t) && t[i].First.Compare(iv.Last) <= 0; i++ {
			out = append(out, Interval{later(iv.First, t[i].First), earlier(iv.Last, t[i].Last)})
		}
	}
	return out
}

// Join is what either set has.
func (s Set) Join(t Set) Set { return SetOf(slices.Concat(s, t)) }

// Disjoint reports whether no value is in both sets: a search in the longer one for each interval of the shorter.
func (s Set) Disjoint(t Set) bool {
	if len(s) > len(t) {
		s, t = t, s
	}
	for _, iv := range s {
		if i := t.from(iv.First); i < len(t) && t[i].First.Compare(iv.Last) <= 0 {
			return false
		}
	}
	return true
}

// Within reports whether every value of the set is in t.
func (s Set) Within(t Set) bool {
	for _, iv := range s {
		i := t.from(iv.First)
		if i == len(t) || t[i].First.Compare(iv.First) > 0 || t[i].Last.Compare(iv.Last) < 0 {
			return false
		}
	}
	return true
}

func later(a, b Value) Value {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func earlier(a, b Value) Value {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}

// Open is the number of low bits in which the ends of the interval differ: all its values agree above them.
func (iv Interval) Open() int { return iv.First.Xor(iv.Last).length() }
