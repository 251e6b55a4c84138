package rules

import (
	"errors"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// near is the part of a set of intervals that a transaction touches, as the kernel has it: points.
type near struct {
	c      *Contents
	old    map[string]entry // the intervals there, by their first key
	points map[string]point
}

// point is the first key of an interval, or the last one: the key before that of the kernel's end.
type point struct {
	entry // of the first key; of the last one only the key, as first
	end   bool
	open  bool // the interval had no end
}

// applyPoints makes of changed points what becomes of intervals. Nearly always they come in pairs. Where nft merges
// intervals, or one that is there gets another time, a point stays.
func (c *Contents) applyPoints(change element.Change) error {
	n, come, err := c.nearby(change)
	if err != nil {
		return err
	}
	return n.apply(come)
}

// nearby is what a change touches, and the intervals that are there behind it.
func (c *Contents) nearby(change element.Change) (*near, []entry, error) {
	n := &near{c, map[string]entry{}, map[string]point{}}
	for _, l := range []*element.List{&change.Deleted, &change.Added} {
		if err := n.look(l); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range n.old {
		n.set(point{entry: e, open: c.highest(e.last)})
		if !c.highest(e.last) {
			n.set(point{entry: entry{first: e.last}, end: true})
		}
	}
	if err := n.change(&change.Deleted, func(p point) { delete(n.points, p.identity()) }); err != nil {
		return nil, nil, err
	}
	err := n.change(&change.Added, func(p point) {
		p.open = n.points[p.identity()].open
		n.set(p)
	})
	if err != nil {
		return nil, nil, err
	}
	come, err := n.join()
	return n, come, err
}

// look finds the intervals that points are in.
func (n *near) look(l *element.List) error {
	return n.change(l, func(p point) {
		if e, ok := n.c.store.find(p.first); ok {
			n.old[pack(e.first)] = e
		}
	})
}

// change calls f for each point of a list.
func (n *near) change(l *element.List, f func(point)) error {
	for e := range l.All() {
		if e.End {
			if e.First = element.Below(e.First); e.First == nil {
				continue // nft ends at 0 what is not there
			}
			e.Verdict, e.Stateful = "", false
			words, ok := n.c.words(e.First, nil)
			if !ok {
				return n.c.misfit("has an element that is no key of its type")
			}
			f(point{entry: entry{first: words}, end: true})
			continue
		}
		x, err := n.c.entry(e, entry{})
		if err != nil {
			return err
		}
		f(point{entry: x})
	}
	return nil
}

func (n *near) set(p point) { n.points[p.identity()] = p }

// identity tells points apart and orders them: by key, and the first key of an interval before its last one.
func (p point) identity() string {
	if p.end {
		return pack(p.first) + "e"
	}
	return pack(p.first) + "b"
}

// join makes intervals of the points.
func (n *near) join() ([]entry, error) {
	order := make([]point, 0, len(n.points))
	for _, p := range n.points {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b point) int { return strings.Compare(a.identity(), b.identity()) })
	var out []entry
	begun := false
	for i, p := range order {
		switch {
		case p.end && begun:
			out[len(out)-1].last = p.first
			begun = false
		case p.end: // the kernel ends what has expired
		case begun:
			return nil, ErrReread
		default:
			out = append(out, p.entry)
			begun = true
			if i == len(order)-1 && n.unended(p) {
				out[len(out)-1].last = element.Highest(nil, n.c.set.Parts)
				begun = false
			}
		}
	}
	if begun {
		// It goes to the highest key, or to the end of one that has expired.
		return nil, ErrReread
	}
	return out, nil
}

// unended reports whether an interval without an end goes to the highest key. That others are in its way is seen at the
// latest when it is put in.
func (n *near) unended(p point) bool {
	if p.open || n.c.loose {
		return p.open
	}
	top, ok := n.c.store.highest()
	_, touched := n.old[pack(top.first)]
	return !ok || touched || slices.Compare(top.last, p.first) < 0
}

// apply does what makes the old intervals the new ones.
func (n *near) apply(come []entry) error {
	var gone []entry
	for _, e := range come {
		if old, ok := n.old[pack(e.first)]; ok && slices.Equal(old.last, e.last) {
			delete(n.old, pack(e.first)) // put does not mind that it is there
		}
	}
	for _, e := range n.old {
		gone = append(gone, e)
	}
	err := n.c.store.apply(gone, come)
	if _, overlap := errors.AsType[*tree.OverlapError](err); overlap {
		return ErrReread
	}
	return err
}

// highest reports whether a key is the highest of the set.
func (c *Contents) highest(key []uint64) bool {
	return slices.Equal(key, element.Highest(nil, c.set.Parts))
}
