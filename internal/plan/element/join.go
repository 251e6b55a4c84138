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
	order := make([]int32, l.keys())
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, l.comparePoints)
	out := &List{Generation: l.Generation, catchAll: l.catchAll, size: l.size}
	out.firsts, out.lasts = make([]byte, 0, len(l.firsts)/2), make([]byte, 0, len(l.firsts)/2)
	open := -1
	last := make([]byte, l.size)
	for _, i := range order {
		joined := open >= 0
		if joined {
			copy(last, l.key(int(i)))
			decrement(last)
			out.addJoined(l.at(open), last)
			open = -1
		}
		switch end := l.end(int(i)); {
		case !end:
			open = int(i)
		case !joined && !zero(l.key(int(i))):
			out.strays = true
		}
	}
	if open >= 0 {
		out.addJoined(l.at(open), bytes.Repeat([]byte{0xff}, l.size))
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

// Below is the key below one in network order; nil for 0.
func Below(key []byte) []byte {
	if zero(key) {
		return nil
	}
	out := bytes.Clone(key)
	decrement(out)
	return out
}

func zero(key []byte) bool { return !slices.ContainsFunc(key, func(b byte) bool { return b != 0 }) }

// comparePoints orders points by key. Where an interval ends another may begin: the end comes first.
func (l *List) comparePoints(i, j int32) int {
	return cmp.Or(bytes.Compare(l.key(int(i)), l.key(int(j))), ends(l.end(int(j)))-ends(l.end(int(i))))
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
