package main

import (
	"errors"
	"fmt"
	"time"
)

// loads is the hold on the ruleset of a namespace: whoever loads has it, so that nobody loads into what is about to be
// rolled back, and nobody forgets the record of another one.
type loads struct {
	places places
	ns     uint64
	hold   *instance
}

// busyPoll is how often somebody looks again who finds another one loading.
const busyPoll = 20 * time.Millisecond

// busyLimit is how long one who loads is waited for.
const busyLimit = 30 * time.Second

// errBusy says that somebody loads just now.
var errBusy = withCode(exitPending, errors.New("another ruleset is being loaded in this moment; try again"))

// holdLoads takes the hold. It is refused while a load waits to be confirmed; one that loads for good is waited for.
func (e *env) holdLoads() (*loads, error) {
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	l := &loads{places: e.places, ns: ns}
	return l, e.whileBusy(l.take)
}

// take tries once.
func (l *loads) take() error {
	hold, err := acquire(l.places.loadLock(l.ns))
	_, busy := errors.AsType[*runningError](err)
	if err != nil && !busy {
		return err
	}
	r, err := l.places.readLoad(l.ns)
	if err == nil {
		err = pendingError(r, busy)
	}
	switch {
	case err == nil && busy:
		return errBusy
	case err != nil && !busy:
		return errors.Join(err, hold.release())
	}
	l.hold = hold
	return err
}

// whileBusy calls f until it says something else than that somebody loads.
func (e *env) whileBusy(f func() error) error {
	limit := time.NewTimer(busyLimit)
	defer limit.Stop()
	tick := time.NewTicker(busyPoll)
	defer tick.Stop()
	for {
		err := f()
		if !errors.Is(err, errBusy) {
			return err
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return err
		case <-e.ctx.Done():
			return fmt.Errorf("wait for another load: %w", e.ctx.Err())
		}
	}
}

// release gives the hold back.
func (l *loads) release() error {
	err := l.hold.release()
	l.places.tidy()
	return err
}

// mine reports whether the hold still is what it was: a guard that ended its work has given it back.
func (l *loads) mine() bool { return same(l.hold.f, l.hold.f.Name()) }
