package engine

import (
	"context"
	"sync"
	"time"
)

// bumpGap is the shortest time between two generations. A change that comes sooner waits for the rest of it: a burst
// makes one at once and one after its end, and a storm no more than a hundred a second.
const bumpGap = 10 * time.Millisecond

// bumper starts generations.
type bumper struct {
	bump func() error
	log  func(what string, err error)
	kick chan struct{} // room for one: what is asked for while one waits is the same one

	mu   sync.Mutex
	n    uint64
	last time.Time
	why  string
}

func newBumper(bump func() error, log func(string, error)) *bumper {
	return &bumper{bump: bump, log: log, kick: make(chan struct{}, 1)}
}

// request asks for a generation and never waits.
func (b *bumper) request(why string) {
	b.mu.Lock()
	b.why = why
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *bumper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
		}
		if err := b.bump(); err != nil {
			b.log("start a generation", err)
		}
		b.mu.Lock()
		b.n++
		b.last = time.Now()
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(bumpGap):
		}
	}
}

// Generations counts them for the status.
type Generations struct {
	Count uint64    `json:"count"`
	Last  time.Time `json:"last,omitzero"`
	Why   string    `json:"why,omitempty"` // the last change that asked for one
}

func (b *bumper) generations() Generations {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Generations{Count: b.n, Last: b.last, Why: b.why}
}
