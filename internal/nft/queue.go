package nft

import (
	"context"
	"sync"
)

// queue has commits that wait for their reader, in order and however many.
type queue struct {
	more chan struct{} // has something when there may be news

	mu      sync.Mutex
	waiting []Commit
	ended   bool
}

func newQueue() *queue { return &queue{more: make(chan struct{}, 1)} }

func (q *queue) put(c Commit) {
	q.mu.Lock()
	q.waiting = append(q.waiting, c)
	q.mu.Unlock()
	q.wake()
}

// end says that no more will come.
func (q *queue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// take returns the first commit, where there is one, and whether another may come.
func (q *queue) take() (c Commit, ok, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return Commit{}, false, !q.ended
	}
	c, q.waiting[0] = q.waiting[0], Commit{} // its elements may be many
	q.waiting = q.waiting[1:]
	return c, true, true
}

// deliver sends the commits until the last one, or the end of the context.
func (q *queue) deliver(ctx context.Context, to chan<- Commit) {
	for {
		c, ok, open := q.take()
		switch {
		case ok:
			select {
			case to <- c:
			case <-ctx.Done():
				return
			}
		case !open:
			return
		default:
			select {
			case <-q.more:
			case <-ctx.Done():
				return
			}
		}
	}
}
