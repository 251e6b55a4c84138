package element

import (
	"bytes"
	"cmp"
	"slices"
)

// Join makes intervals of the points that are all of a set, in any order, and returns them in order. What the kernel
// would find decides where they do not come in pairs: an interval without an end goes to the next one, and the last of
// all to the highest key; an end without an interval (nft makes one of the key 0, and the kernel has them where the
// interval has expired) is nothing.
func (l *List) Join() *List {
	out := &List{Generation: l.Generation, catchAll: l.catchAll, size: l.size}
	out.firsts, out.lasts = make([]byte, 0, len(l.firsts)/2), make([]byte, 0, len(l.firsts)/2)
	open := -1
	last := make([]byte, l.size)
	for _, i := range l.order() {
		joined := open >= 0
		if joined {
			copy(last, l.key(i))
			decrement(last)
			out.addJoined(l.at(open), last)
			open = -1
		}
		switch end := l.end(i); {
		case !end:
			open = i
			out.touching = out.touching || joined
		case !joined && !zero(l.key(i)):
			out.strays = true
		}
	}
	if open >= 0 {
		out.addJoined(l.at(open), bytes.Repeat([]byte{0xff}, l.size))
		out.open = true
	}
	return out
}

// order is the points in order of their keys; of those with the same key, ends first, since where an interval ends
// another may begin; and else as they were added.
func (l *List) order() []int {
	out := make([]int, l.keys())
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(i, j int) int { return cmp.Or(l.comparePoints(i, j), cmp.Compare(i, j)) })
	return out
}

// Merge is the points of a list without those of a second, and with those of a third.
func (l *List) Merge(deleted, added *List) *List {
	all := &List{Generation: l.Generation}
	for _, part := range []*List{l, deleted, added} {
		for e := range part.All() {
			all.Add(e)
		}
	}
	begin, end := l.keys(), l.keys()+deleted.keys()
	out := &List{Generation: l.Generation}
	order := all.order()
	for n, i := range order {
		if n+1 < len(order) && all.comparePoints(i, order[n+1]) == 0 {
			continue // a later one is the same
		}
		if i < begin || i >= end {
			out.Add(all.at(i))
		}
	}
	if added.catchAll != nil || l.catchAll != nil && deleted.catchAll == nil {
		out.catchAll = cmp.Or(added.catchAll, l.catchAll)
	}
	return out
}

func (l *List) addJoined(e Element, last []byte) {
	e.Last = last
	l.Add(e)
}

// Strays reports whether Join has met ends without an interval, but that of the key 0: intervals have expired that the
// kernel has not quite forgotten.
func (l *List) Strays() bool { return l.strays }

// Unended reports whether Join has met intervals without an end: before others, and at the end of all.
func (l *List) Unended() (before, last bool) { return l.touching, l.open }

// Below is the key below one in network order; nil for 0.
func Below(key []byte) []byte {
	if zero(key) {
		return nil
	}
	out := bytes.Clone(key)
	decrement(out)
	return out
}

// Above is the key one above in network order; nil for the highest.
func Above(key []byte) []byte {
	out := bytes.Clone(key)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]++; out[i] != 0 {
			return out
		}
	}
	return nil
}

func zero(key []byte) bool { return !slices.ContainsFunc(key, func(b byte) bool { return b != 0 }) }

func (l *List) comparePoints(i, j int) int {
	return cmp.Or(bytes.Compare(l.key(i), l.key(j)), ends(l.end(j))-ends(l.end(i)))
}

func ends(end bool) int {
	if end {
		return 1
	}
	return 0
}

// decrement makes a key in network order the one below. There is none below 0.
func decrement(key []byte) {
	for i := len(key) - 1; i >= 0; i-- {
		key[i]--
		if key[i] != 0xff {
			return
		}
	}
}
