package engine

import (
	"sync"
	"time"
)

// renewEvery is the rhythm in which the programs of rules are told to go on; they stop by themselves after the lease of
// Rules.Renew, two seconds.
const renewEvery = 500 * time.Millisecond

// gate says whether the programs of rules may execute any: only while they are made of the rules that there are. A change
// of the rules shuts it at once, whatever else is under way; the state that was made of a later reading opens it.
type gate struct {
	rules Rules // nil: there is nothing to say
	log   func(what string, err error)

	mu      sync.Mutex
	seq     uint64 // changes so far
	made    uint64 // the change that what is loaded is up to date with
	watched bool   // changes are heard of
	open    bool
	why     string // the last change
	since   time.Time
}

func newGate(r Rules, log func(string, error)) *gate {
	return &gate{rules: r, log: log, seq: 1, watched: true, why: "start", since: time.Now()}
}

// shut suspends the programs. It never waits for long.
func (g *gate) shut(why string) {
	if g.rules == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	g.why = why
	g.suspend()
}

func (g *gate) suspend() {
	if g.open {
		g.open, g.since = false, time.Now()
	}
	if err := g.rules.Suspend(); err != nil {
		g.log("suspend rules", err)
	}
}

// pause suspends the programs while f runs.
func (g *gate) pause(f func() error) error {
	g.mu.Lock()
	g.suspend()
	err := f()
	g.mu.Unlock()
	if err == nil {
		g.beat()
	}
	return err
}

// watch says whether changes are heard of. While they are not, nothing opens the gate.
func (g *gate) watch(heard bool) {
	if g.rules == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = heard
	if !heard {
		g.suspend()
	}
}

// now is the number of the last change. What is read after this call has it.
func (g *gate) now() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seq
}

// admit says that what is loaded was made of a reading after the change of this number.
func (g *gate) admit(seq uint64) {
	g.mu.Lock()
	g.made = seq
	g.mu.Unlock()
	g.beat()
}

// beat lets the programs go on if nothing has changed.
func (g *gate) beat() {
	if g.rules == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.made != g.seq || !g.watched {
		return
	}
	if err := g.rules.Renew(); err != nil {
		g.log("renew the lease of rules", err)
		return
	}
	if !g.open {
		g.open, g.since = true, time.Now()
	}
}

// state is for the status.
func (g *gate) state() (open bool, why string, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.why, g.since
}
