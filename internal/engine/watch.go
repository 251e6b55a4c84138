package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errWatchEnded is a watch whose channel closed.
var errWatchEnded = errors.New("the watch ended")

// watch takes changes for as long as the context lives. A watch that fails is started again, and since changes were
// missed meanwhile, that is a change too.
func (e *Engine) watch(ctx context.Context, name string, start func(context.Context) (<-chan Change, error), first <-chan Change) {
	in := newInbox()
	var worker sync.WaitGroup
	worker.Go(func() { in.run(ctx, func(c Change) { e.changed(ctx, c) }) })
	defer worker.Wait()
	heard := func(c Change) {
		e.suspendFor(c) // now: changes before this one may take a minute
		in.put(c)
	}
	ch := first
	for {
		for c := range ch {
			heard(c)
		}
		if ctx.Err() != nil {
			return
		}
		e.blind.Add(1)
		e.problem("watch "+name, errWatchEnded)
		heard(Change{What: name + " watch lost", Reread: true, Rules: true, Lost: true})
		for ch = nil; ch == nil; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(readRetry):
			}
			var err error
			if ch, err = start(ctx); err != nil {
				e.problem("watch "+name, err)
				ch = nil
			}
		}
		heard(Change{What: name + " watched again", Reread: true, Rules: true, Lost: true})
		e.blind.Add(-1)
	}
}

// inbox has changes that wait until those before have been dealt with.
type inbox struct {
	more chan struct{} // has something when there may be news

	mu      sync.Mutex
	waiting []Change
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (in *inbox) put(c Change) {
	in.mu.Lock()
	in.waiting = append(in.waiting, c)
	in.mu.Unlock()
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// run calls f with one change after the other until the context ends.
func (in *inbox) run(ctx context.Context, f func(Change)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.more:
		}
		in.mu.Lock()
		all := in.waiting
		in.waiting = nil
		in.mu.Unlock()
		for _, c := range all {
			if ctx.Err() != nil {
				return
			}
			f(c)
		}
	}
}
