package element

import (
	"iter"
	"time"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Generation is the low half of the number that the kernel gives to each state of the ruleset.
type Generation uint16

// Before reports whether a transaction came after the state that was read, so that its changes are not in it, or not
// surely.
func (g Generation) Before(commit uint32) bool { return int16(uint16(commit)-uint16(g)) > 0 }

// List is elements of one set, packed: a million IPv4 addresses are 4 MB, and with a timeout each 72 MB more. The zero
// value is empty.
type List struct {
	// Generation is that of the ruleset at the time when the set was read.
	Generation Generation

	size     int    // bytes of a key
	firsts   []byte // of all elements but "*", one after another
	lasts    []byte // as many, or none: all elements are single keys
	ends     []bool // one for each element, or none
	rests    []rest // one for each element, or none: nothing of it is in the set
	catchAll *rest
	// What Join has met.
	strays, touching, open bool
}

// rest is what elements of plain sets do not have.
type rest struct {
	verdict  ruleset.VerdictKind
	chain    string
	expires  time.Time
	stateful bool
}

// Len is the number of elements.
func (l *List) Len() int {
	if l.catchAll != nil {
		return l.keys() + 1
	}
	return l.keys()
}

// keys is the number of elements that have a key.
func (l *List) keys() int {
	if l.size == 0 {
		return 0
	}
	return len(l.firsts) / l.size
}

// Add adds a copy of an element. All keys of a list are equally long; one that is not is left out, and false returned.
func (l *List) Add(e Element) bool {
	r := rest{e.Verdict, e.Chain, e.Expires, e.Stateful}
	if e.CatchAll() {
		l.catchAll = &r
		return true
	}
	n := l.keys()
	if n == 0 {
		l.size = len(e.First)
	}
	if len(e.First) != l.size || e.Last != nil && len(e.Last) != l.size || l.size == 0 {
		return false
	}
	if e.Last != nil && l.lasts == nil {
		l.lasts = append([]byte{}, l.firsts...) // not nil, if there are none
	}
	if e.End && l.ends == nil {
		l.ends = make([]bool, n)
	}
	if r != (rest{}) && l.rests == nil {
		l.rests = make([]rest, n)
	}
	l.firsts = append(l.firsts, e.First...)
	if l.lasts != nil && e.Last != nil {
		l.lasts = append(l.lasts, e.Last...)
	} else if l.lasts != nil {
		l.lasts = append(l.lasts, e.First...)
	}
	if l.ends != nil {
		l.ends = append(l.ends, e.End)
	}
	if l.rests != nil {
		l.rests = append(l.rests, r)
	}
	return true
}

// All are the elements in the order in which they were added, but "*", which comes last. The bytes of their keys are
// the list's own. In a list with intervals, single keys have a last key too.
func (l *List) All() iter.Seq[Element] {
	return func(yield func(Element) bool) {
		for i := range l.keys() {
			if !yield(l.at(i)) {
				return
			}
		}
		if l.catchAll != nil {
			var e Element
			l.catchAll.to(&e)
			yield(e)
		}
	}
}

// key is the first key of an element.
func (l *List) key(i int) []byte { return l.firsts[i*l.size : (i+1)*l.size : (i+1)*l.size] }

// end reports whether an element is the end of an interval.
func (l *List) end(i int) bool { return l.ends != nil && l.ends[i] }

func (l *List) at(i int) Element {
	e := Element{First: l.key(i), End: l.end(i)}
	if l.lasts != nil {
		e.Last = l.lasts[i*l.size : (i+1)*l.size : (i+1)*l.size]
	}
	if l.rests != nil {
		l.rests[i].to(&e)
	}
	return e
}

func (r *rest) to(e *Element) {
	e.Verdict, e.Chain, e.Expires, e.Stateful = r.verdict, r.chain, r.expires, r.stateful
}
