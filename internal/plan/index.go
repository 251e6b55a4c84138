package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// index finds the entries whose space may overlap another. Most rules of a long chain name an address or a port; those
// are found by search, the others one by one.
type index struct {
	lanes []*lane
	rest  []*entry
}

// lane is the entries that are found by one field.
type lane struct {
	field  space.Field
	all    []*entry
	sorted []item // by the first value
	tail   []item // not sorted yet
	widest int    // bits in which the ends of an interval differ
	// met is what was found of sets with many intervals, which many rules may share.
	met map[*space.Interval]*met
}

// met is the entries of a lane that overlap a set, as far as they were looked at.
type met struct {
	looked int // entries of all
	hits   []*entry
}

type item struct {
	iv space.Interval
	e  *entry
}

const (
	laneIntervals = 256  // of one entry; one with more is in no lane
	laneTail      = 512  // items before they are sorted in
	mostCompared  = 2048 // entries that one is compared with, before the answer is "perhaps"
)

// add puts an entry into the index.
func (x *index) add(e *entry) {
	c, wide, ok := narrowest(e.space)
	if !ok {
		x.rest = append(x.rest, e)
		return
	}
	l := x.lane(c.Field)
	if l == nil {
		l = &lane{field: c.Field}
		x.lanes = append(x.lanes, l)
	}
	l.widest = max(l.widest, wide)
	l.all = append(l.all, e)
	for _, iv := range c.In {
		l.tail = append(l.tail, item{iv, e})
	}
	if len(l.tail) > laneTail {
		l.sortIn()
	}
}

// sortIn moves the tail to where it belongs. From behind, so that nothing is copied twice.
func (l *lane) sortIn() {
	slices.SortStableFunc(l.tail, func(a, b item) int { return a.iv.First.Compare(b.iv.First) })
	i, j := len(l.sorted)-1, len(l.tail)-1
	l.sorted = append(l.sorted, l.tail...)
	for at := len(l.sorted) - 1; j >= 0; at-- {
		if i >= 0 && l.sorted[i].iv.First.Compare(l.tail[j].iv.First) > 0 {
			l.sorted[at] = l.sorted[i]
			i--
		} else {
			l.sorted[at] = l.tail[j]
			j--
		}
	}
	l.tail = l.tail[:0]
}

func (x *index) lane(f space.Field) *lane {
	for _, l := range x.lanes {
		if l.field == f {
			return l
		}
	}
	return nil
}

// narrowest is the field that says most about the packets of a space, and how many bits its intervals leave open.
func narrowest(s space.Space) (best space.Constraint, wide int, ok bool) {
	const least = 8 // bits that have to be said; and half of the field
	said := least - 1
	for _, c := range s.Constraints() {
		if len(c.In) > laneIntervals {
			continue
		}
		open := 0
		for _, iv := range c.In {
			open = max(open, iv.Open())
		}
		if n := c.Field.Len - open; n > said && n >= open {
			said, best, wide, ok = n, c, open, true
		}
	}
	return best, wide, ok
}

// overlapping calls f for entries that may overlap a space until it returns true. It is false when there were too many
// to go through.
func (x *index) overlapping(s space.Space, f func(*entry) bool) (complete bool) {
	left := mostCompared
	visit := func(e *entry) (stop bool) {
		left--
		return left < 0 || f(e)
	}
	for _, l := range x.lanes {
		if in, ok := s.Values(l.field); ok && len(in) > laneIntervals {
			hits, all := l.meets(in)
			if slices.ContainsFunc(hits, visit) {
				return left >= 0
			}
			if !all {
				return false
			}
			continue
		}
		if l.visit(s, visit) {
			return left >= 0
		}
	}
	if slices.ContainsFunc(x.rest, visit) {
		return left >= 0
	}
	return true
}

// visit goes through the entries of the lane that may overlap a space; true when it was stopped.
func (l *lane) visit(s space.Space, f func(*entry) bool) bool {
	in, ok := s.Values(l.field)
	if !ok {
		return slices.ContainsFunc(l.all, f)
	}
	for _, iv := range in {
		first := iv.First.Floor(l.widest)
		i, _ := slices.BinarySearchFunc(l.sorted, first, func(it item, v space.Value) int { return it.iv.First.Compare(v) })
		for ; i < len(l.sorted) && l.sorted[i].iv.First.Compare(iv.Last) <= 0; i++ {
			if l.sorted[i].iv.Last.Compare(iv.First) >= 0 && f(l.sorted[i].e) {
				return true
			}
		}
		for _, it := range l.tail {
			if it.iv.First.Compare(iv.Last) <= 0 && it.iv.Last.Compare(iv.First) >= 0 && f(it.e) {
				return true
			}
		}
	}
	return false
}

// meets is the entries of the lane that overlap a set of many intervals; false when there are entries that were not
// looked at yet. Rules that use the same named set share what was found.
func (l *lane) meets(in space.Set) ([]*entry, bool) {
	if l.met == nil {
		l.met = map[*space.Interval]*met{}
	}
	m := l.met[&in[0]]
	if m == nil {
		m = &met{}
		l.met[&in[0]] = m
	}
	end := min(len(l.all), m.looked+mostCompared)
	for _, e := range l.all[m.looked:end] {
		if of, ok := e.space.Values(l.field); ok && !of.Disjoint(in) {
			m.hits = append(m.hits, e)
		}
	}
	m.looked = end
	return m.hits, end == len(l.all)
}
