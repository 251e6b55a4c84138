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
	rules Rules       // nil: there is nothing to say
	blind func() bool // changes are not heard of
	log   func(what string, err error)

	mu      sync.Mutex
	seq     uint64 // changes so far
	made    uint64 // the change that what is loaded is up to date with
	held    bool   // programs are being changed
	pauses  int    // sets are being changed
	open    bool
	why     string // the last change
	since   time.Time
	devices map[uint32]bool // that rules are about
}

func newGate(r Rules, blind func() bool, log func(string, error)) *gate {
	return &gate{rules: r, blind: blind, log: log, seq: 1, why: "start", since: time.Now()}
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

// concern says which devices rules are about.
func (g *gate) concern(want Desired) {
	devices := devicesOf(want)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.devices = devices
}

// linkChanged says that a device is other than it was: its name too, perhaps. That shuts if rules are about it, and if
// programs are yet to be opened, since they may have been made of the devices that there were before.
func (g *gate) linkChanged(ifindex uint32, why string) {
	g.mu.Lock()
	opened := g.open && g.made == g.seq && len(g.devices) > 0
	concerns := !opened || g.devices[ifindex]
	g.mu.Unlock()
	if concerns {
		g.shut(why)
	}
}

// hold suspends the programs until release, while they are changed.
func (g *gate) hold() {
	if g.rules == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
	g.suspend()
}

func (g *gate) release() {
	g.mu.Lock()
	g.held = false
	g.mu.Unlock()
	g.beat()
}

// pause suspends the programs while f runs. If that fails, they stay suspended, as by a change.
func (g *gate) pause(f func() error) error {
	if g.rules == nil {
		return f()
	}
	g.mu.Lock()
	g.pauses++
	g.suspend()
	g.mu.Unlock()
	err := f()
	g.mu.Lock()
	g.pauses--
	if err != nil {
		g.seq++
		g.why = err.Error()
	}
	g.mu.Unlock()
	g.beat()
	return err
}

// now is the number of the last change. What is read after this call has it.
func (g *gate) now() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seq
}

// waits reports whether programs are suspended until the next reading.
func (g *gate) waits() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rules != nil && g.made != g.seq && len(g.devices) > 0
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
	if g.made != g.seq || g.held || g.pauses > 0 || g.blind() {
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
