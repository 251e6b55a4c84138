package engine

import (
	"context"
	"errors"
	"time"
)

// errWatchEnded is a watch whose channel closed.
var errWatchEnded = errors.New("the watch ended")

// watch takes changes for as long as the context lives. A watch that fails is started again, and since changes were
// missed meanwhile, that is a change too.
func (e *Engine) watch(ctx context.Context, name string, start func(context.Context) (<-chan Change, error), first <-chan Change) {
	ch := first
	for {
		for c := range ch {
			e.changed(ctx, c)
		}
		if ctx.Err() != nil {
			return
		}
		e.blind.Add(1)
		e.problem("watch "+name, errWatchEnded)
		e.changed(ctx, Change{What: name + " watch lost", Reread: true, Rules: true, Lost: true})
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
		e.changed(ctx, Change{What: name + " watched again", Reread: true, Rules: true, Lost: true})
		e.blind.Add(-1)
	}
}
