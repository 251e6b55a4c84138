package soak

import (
	"sync"
	"time"
)

// patience is how long a connection may stand still before it counts as lost: TCP sends again after 0.2, 0.4, 0.8, ... s,
// so that one which missed six chances is still waited for.
const patience = 20 * time.Second

// talk is one connection of the load, TCP or UDP, that exchanges messages until it is told to stop.
type talk interface {
	label() string  // "masqueraded-1": its kind and number
	rounds() uint64 // messages that went there and came back whole
	lost() error    // why it is given up; nil while it lives
	giveUp(why error)
	finish() // the end of a connection that lives
	harm() harm
}

// harm is what happened to the payload of a connection.
type harm struct {
	Damaged int // messages that came back other than they were sent, or twice
	Missing int // datagrams that did not come back; TCP has none
}

func (h *harm) add(o harm) {
	h.Damaged += o.Damaged
	h.Missing += o.Missing
}

// verdict is why a connection is given up. The first reason stays.
type verdict struct {
	mu  sync.Mutex
	why error
}

func (v *verdict) lost() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.why
}

func (v *verdict) giveUp(why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.why == nil {
		v.why = why
	}
}
