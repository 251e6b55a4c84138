package enginetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// SetChains replaces the whole ruleset, as values; what flows need to know of it is SetRules' matter and comes first.
func (m *Machine) SetChains(rs *ruleset.Ruleset) {
	m.mu.Lock()
	m.chains = rs
	m.mu.Unlock()
	m.Announce(engine.Change{What: "ruleset", Reread: true, Rules: true})
}

// Chains returns the machine's ruleset, whole, and devices that can do everything.
func (m *Machine) Chains() engine.Chains { return chains{m} }

type chains struct{ m *Machine }

func (c chains) Read(context.Context) (*ruleset.Ruleset, caps.Machine, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	var out caps.Machine
	for _, name := range slices.Sorted(maps.Keys(c.m.links)) {
		l := c.m.links[name]
		d := caps.Device{Name: name, Ifindex: l.Ifindex, Kind: l.Kind, Driver: l.Driver}
		if l.Ethernet {
			d.Type = "ether"
		}
		out.Devices = append(out.Devices, d)
	}
	return c.m.chains, out, c.m.failing
}

// Rules are programs that execute rules, or do not.
type Rules struct {
	mu        sync.Mutex
	executing bool
	suspended int
	renewed   int
	counted   engine.Counted
}

// Renew makes them execute rules.
func (r *Rules) Renew() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executing = true
	r.renewed++
	return nil
}

// Suspend makes them execute none.
func (r *Rules) Suspend() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executing = false
	r.suspended++
	return nil
}

// Counted returns what SetCounted said.
func (r *Rules) Counted() (engine.Counted, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted, nil
}

// SetCounted sets the counters.
func (r *Rules) SetCounted(c engine.Counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted = c
}

// Executing reports whether rules are executed.
func (r *Rules) Executing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.executing
}

// Suspensions counts Suspend.
func (r *Rules) Suspensions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.suspended
}

// Renewals counts Renew.
func (r *Rules) Renewals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.renewed
}

// Sets are named sets in a ruleset and their copies for programs. The elements are texts.
type Sets struct {
	rules *Rules

	mu         sync.Mutex
	subscribed []element.SetID
	lists      map[element.SetID]*element.List
	did        []string
	failing    error
	stalled    <-chan struct{}
	coarse     bool
}

// NewSets returns no sets, for programs that are suspended or not.
func NewSets(r *Rules) *Sets { return &Sets{rules: r, lists: map[element.SetID]*element.List{}} }

// SetList sets what the ruleset has, at a state of it.
func (s *Sets) SetList(id element.SetID, l *element.List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[id] = l
}

// Fail makes Replace and Apply fail, until it is called with nil.
func (s *Sets) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

// Coarse makes all changes such that packets might see half of them.
func (s *Sets) Coarse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coarse = true
}

// Subscribe remembers the sets.
func (s *Sets) Subscribe(sets []element.SetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed = slices.Clone(sets)
}

// Subscribed returns them.
func (s *Sets) Subscribed() []element.SetID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.subscribed)
}

// List returns what SetList said; an empty one else.
func (s *Sets) List(_ context.Context, id element.SetID) (*element.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lists[id]; l != nil {
		return l, nil
	}
	return &element.List{}, nil
}

// Replace writes "fill SET N", and "while executing" if programs could see it.
func (s *Sets) Replace(id element.SetID, l *element.List) error {
	return s.note(fmt.Sprintf("fill %s %d", id, l.Len()))
}

// Apply writes "change SET", and so on.
func (s *Sets) Apply(c element.Change) error {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	return s.note(fmt.Sprintf("change %s", c.Set))
}

// Stall makes Apply wait until the channel is closed.
func (s *Sets) Stall(until <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = until
}

func (s *Sets) note(what string) error {
	if s.rules.Executing() {
		what += " while executing"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, what)
	return s.failing
}

// Atomic is true unless Coarse was called.
func (s *Sets) Atomic(element.Change) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.coarse
}

// Take returns what was done since the last call, a line each.
func (s *Sets) Take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.did, "\n")
	s.did = nil
	return out
}
