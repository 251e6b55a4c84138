package rules

import (
	"container/heap"
	"time"
)

// expiry knows when elements are over. Elements without an end are not in it.
type expiry[K comparable] struct {
	when  map[K]time.Time
	queue deadlines[K] // what is not in when, or there with another time, is stale
}

type deadline[K comparable] struct {
	at  time.Time
	key K
}

// set notes when an element is over; the zero time: never.
func (x *expiry[K]) set(key K, at time.Time) {
	if at.IsZero() {
		delete(x.when, key)
		return
	}
	if x.when == nil {
		x.when = map[K]time.Time{}
	}
	x.when[key] = at
	heap.Push(&x.queue, deadline[K]{at, key})
	if len(x.queue) > 2*len(x.when)+staleAllowed {
		x.tidy()
	}
}

// staleAllowed is how many stale entries are not worth tidying up.
const staleAllowed = 1024

// tidy makes the queue anew: elements that are added again and again leave a stale entry each time.
func (x *expiry[K]) tidy() {
	x.queue = x.queue[:0]
	for key, at := range x.when {
		x.queue = append(x.queue, deadline[K]{at, key})
	}
	heap.Init(&x.queue)
}

// due takes an element that is over.
func (x *expiry[K]) due(now time.Time) (key K, ok bool) {
	x.skip()
	if len(x.queue) == 0 || x.queue[0].at.After(now) {
		return key, false
	}
	key = x.queue[0].key
	delete(x.when, key)
	heap.Pop(&x.queue)
	return key, true
}

// next is when the next element is over; zero: none will be.
func (x *expiry[K]) next() time.Time {
	x.skip()
	if len(x.queue) == 0 {
		return time.Time{}
	}
	return x.queue[0].at
}

// skip drops what is stale at the head of the queue.
func (x *expiry[K]) skip() {
	for len(x.queue) > 0 && !x.when[x.queue[0].key].Equal(x.queue[0].at) {
		heap.Pop(&x.queue)
	}
}

type deadlines[K comparable] []deadline[K]

// Len is of heap.Interface.
func (d deadlines[K]) Len() int { return len(d) }

// Less is of heap.Interface.
func (d deadlines[K]) Less(i, j int) bool { return d[i].at.Before(d[j].at) }

// Swap is of heap.Interface.
func (d deadlines[K]) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push is of heap.Interface.
func (d *deadlines[K]) Push(x any) { *d = append(*d, x.(deadline[K])) }

// Pop is of heap.Interface.
func (d *deadlines[K]) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}
