// Package enginetest has stateful fakes of what the engine runs on: a machine whose ruleset and devices a test changes,
// a datapath that keeps what it was given, a conntrack table that remembers what was done to it. Their String methods
// print the state as a person would write it.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Machine is a ruleset and devices. Every change is announced to those who watch.
type Machine struct {
	mu       sync.Mutex
	rules    handover.Ruleset
	chains   *ruleset.Ruleset
	links    map[string]engine.Link
	next     uint32
	reads    int
	failing  error
	listed   func() // runs once, behind the next listing of devices
	watchers map[chan engine.Change]bool
}

// NewMachine returns a machine with no ruleset and no devices.
func NewMachine() *Machine {
	return &Machine{links: map[string]engine.Link{}, next: 2, watchers: map[chan engine.Change]bool{}}
}

// Veth is a device that can do everything, as engine sees a veth in a namespace.
func Veth(name string) engine.Link {
	return engine.Link{Name: name, Kind: "veth", Driver: "veth", Ethernet: true}
}

// NIC is a physical device that can do everything.
func NIC(name string) engine.Link {
	return engine.Link{Name: name, Driver: "ixgbe", Ethernet: true, Physical: true}
}

// AddLink adds a device with the next free index, which is returned.
func (m *Machine) AddLink(l engine.Link) uint32 {
	m.mu.Lock()
	if l.Ifindex == 0 {
		l.Ifindex = m.next
		m.next++
	}
	m.links[l.Name] = l
	m.mu.Unlock()
	m.Announce(engine.Change{What: "link " + l.Name + " new", Reread: true, Link: l.Ifindex})
	return l.Ifindex
}

// RemoveLink takes a device away.
func (m *Machine) RemoveLink(name string) {
	m.mu.Lock()
	l := m.links[name]
	delete(m.links, name)
	m.mu.Unlock()
	m.Announce(engine.Change{What: "link " + name + " removed", Reread: true, Gone: l.Ifindex, Link: l.Ifindex})
}

// ChangeLink changes a device.
func (m *Machine) ChangeLink(name string, f func(*engine.Link)) {
	l := m.changeLink(name, f)
	m.Announce(engine.Change{What: "link " + name + " changed", Reread: true, Link: l.Ifindex})
}

// ChangeQueue changes qdiscs or filters of a device.
func (m *Machine) ChangeQueue(name string, f func(*engine.Link)) {
	m.changeLink(name, f)
	m.Announce(engine.Change{What: "tc " + name + " changed", Reread: true, Quiet: true})
}

func (m *Machine) changeLink(name string, f func(*engine.Link)) engine.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.links[name]
	f(&l)
	m.links[name] = l
	return l
}

// RenameLink gives a device another name.
func (m *Machine) RenameLink(name, to string) {
	m.mu.Lock()
	l := m.links[name]
	delete(m.links, name)
	l.Name = to
	m.links[to] = l
	m.mu.Unlock()
	m.Announce(engine.Change{What: "link " + name + " is " + to, Reread: true, Link: l.Ifindex})
}

// SetRules replaces the ruleset.
func (m *Machine) SetRules(r handover.Ruleset) {
	m.mu.Lock()
	m.rules = r
	m.mu.Unlock()
	m.Announce(engine.Change{What: "ruleset", Reread: true})
}

// Announce tells the watchers of a change that the test made up.
func (m *Machine) Announce(c engine.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		w <- c // has room for what a test announces
	}
}

// BreakWatches ends all watches, as an overrun socket that cannot be recovered would.
func (m *Machine) BreakWatches() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		close(w)
		delete(m.watchers, w)
	}
}

// FailReads makes reading the ruleset fail until it is called with nil.
func (m *Machine) FailReads(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// WhenListed calls a function behind the next listing of devices, before the reading goes on.
func (m *Machine) WhenListed(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listed = f
}

// Reads counts the readings of the ruleset.
func (m *Machine) Reads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func (m *Machine) watch(ctx context.Context) (<-chan engine.Change, error) {
	const room = 1 << 16
	w := make(chan engine.Change, room)
	m.mu.Lock()
	m.watchers[w] = true
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.watchers[w] {
			close(w)
			delete(m.watchers, w)
		}
	})
	return w, nil
}

// Source returns the machine's ruleset.
func (m *Machine) Source() engine.Source { return source{m} }

// Links returns the machine's devices.
func (m *Machine) Links() engine.Links { return links{m} }

type source struct{ m *Machine }

func (s source) Read(context.Context) (handover.Ruleset, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.reads++
	return s.m.rules, s.m.failing
}

// Watch of the ruleset hears of everything; that is more than a kernel says, and does no harm.
func (s source) Watch(ctx context.Context) (<-chan engine.Change, error) { return s.m.watch(ctx) }

type links struct{ m *Machine }

func (l links) Devices(context.Context) ([]engine.Link, error) {
	l.m.mu.Lock()
	out := slices.Collect(maps.Values(l.m.links))
	listed := l.m.listed
	l.m.listed = nil
	l.m.mu.Unlock()
	if listed != nil {
		listed()
	}
	slices.SortFunc(out, func(a, b engine.Link) int { return int(a.Ifindex) - int(b.Ifindex) })
	return out, nil
}

// Watch of the devices never says anything: Source's does.
func (l links) Watch(ctx context.Context) (<-chan engine.Change, error) {
	w := make(chan engine.Change)
	context.AfterFunc(ctx, func() { close(w) })
	return w, nil
}

// Datapath keeps devices and flows.
type Datapath struct {
	mu      sync.Mutex
	devices []engine.Device
	mark    uint32
	held    chan struct{} // sweeps wait for its end
	applies int
	bumps   []time.Time
	live    []engine.Activity
	watched bool
	refuse  map[string]engine.Refusal // by device and hook
	said    map[string]string         // what the verifier says of programs of rules, by device
	applied func()                    // runs once, in the next Apply
	shares  map[string]int            // entries of the programs of rules, by device
}

// NewDatapath returns a datapath on no device.
func NewDatapath() *Datapath {
	return &Datapath{refuse: map[string]engine.Refusal{}, said: map[string]string{}}
}

// Refuse makes attaching to a device at a hook fail.
func (d *Datapath) Refuse(device string, hook engine.Hook, r engine.Refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Device, r.Hook = device, hook
	d.refuse[device+" "+string(hook)] = r
}

// RefuseRules makes the verifier refuse the programs of rules of a device; with no words it accepts them.
func (d *Datapath) RefuseRules(device, said string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said[device] = said
}

// HoldSweeps makes sweeps take until release is called.
func (d *Datapath) HoldSweeps() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = make(chan struct{})
	return func() { close(d.held) }
}

// Accept takes back what Refuse said.
func (d *Datapath) Accept(device string, hook engine.Hook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.refuse, device+" "+string(hook))
}

// WhenApplied calls a function in the next Apply.
func (d *Datapath) WhenApplied(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = f
}

// Apply keeps the devices that it does not refuse.
func (d *Datapath) Apply(want engine.Desired) ([]engine.Refusal, error) {
	d.mu.Lock()
	applied := d.applied
	d.applied = nil
	d.mu.Unlock()
	if applied != nil {
		applied()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applies++
	var refusals []engine.Refusal
	for _, dev := range want.Devices {
		if said := d.said[dev.Name]; said != "" && dev.Early != "" {
			refusals = append(refusals, engine.Refusal{Device: dev.Name, Hook: dev.EarlyHook, Rules: true, Said: said, Err: errors.New(said)})
		}
	}
	if len(refusals) > 0 {
		return refusals, nil
	}
	d.devices, d.mark, d.shares = nil, want.Mark, map[string]int{}
	for _, dev := range want.Devices {
		hook := dev.Hook
		if dev.EarlyHook == engine.XDP {
			hook = engine.XDP
		}
		if r, ok := d.refuse[dev.Name+" "+string(hook)]; ok {
			refusals = append(refusals, r)
			continue
		}
		if e := want.Early[dev.Early]; e != nil {
			d.shares[dev.Name] = rulesOf(e.Share)
		}
		d.devices = append(d.devices, dev)
	}
	return refusals, nil
}

// Bump remembers when.
func (d *Datapath) Bump() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bumps = append(d.bumps, time.Now())
	return nil
}

// SetLive sets what sweeps find.
func (d *Datapath) SetLive(live ...engine.Activity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = live
}

// Sweep returns what SetLive set.
func (d *Datapath) Sweep(watching bool) (engine.Sweep, error) {
	d.mu.Lock()
	if held := d.held; held != nil {
		d.mu.Unlock()
		<-held
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	d.watched = watching
	return engine.Sweep{Entries: len(d.live), Live: slices.Clone(d.live)}, nil
}

// Stats counts the live directions.
func (d *Datapath) Stats() (engine.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return engine.Stats{Flows: len(d.live)}, nil
}

// Flows lists the live directions, untranslated.
func (d *Datapath) Flows() ([]engine.Flow, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []engine.Flow
	for _, a := range d.live {
		out = append(out, engine.Flow{
			Proto: packet.ProtoName(a.Tuple.Proto), Src: a.Tuple.Src, Dst: a.Tuple.Dst, NATSrc: a.Tuple.Src,
			NATDst: a.Tuple.Dst, Bytes: a.Bytes, InIndex: 2, OutIndex: 3, State: engine.StateReady, Lease: engine.Seconds(time.Second),
		})
	}
	return out, nil
}

// Bumps returns when generations began.
func (d *Datapath) Bumps() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.bumps)
}

// Watched is what the last sweep was told.
func (d *Datapath) Watched() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.watched
}

// Applies counts Apply.
func (d *Datapath) Applies() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applies
}

// String prints a line for each device: "2 r0 tc", "3 r0.10 above", "4 r2 tc refused", "5 r3 alone, 7 rules at xdp".
func (d *Datapath) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, dev := range d.devices {
		state := string(dev.Hook)
		switch {
		case dev.Above:
			state = "above"
		case dev.Unlisted:
			state = "alone"
		}
		if dev.Refused {
			state += " refused"
		}
		if dev.Early != "" {
			state += fmt.Sprintf(", %d rules at %s", d.shares[dev.Name], dev.EarlyHook)
		}
		fmt.Fprintf(&b, "%d %s %s\n", dev.Ifindex, dev.Name, state)
	}
	if d.mark != 0 {
		fmt.Fprintf(&b, "mark %#x\n", d.mark)
	}
	return b.String()
}

// Conntrack remembers what was done, in order.
type Conntrack struct {
	mu  sync.Mutex
	did []string
}

// SetLiberal writes "liberal TUPLE" for each connection.
func (c *Conntrack) SetLiberal(conns []packet.Tuple) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range conns {
		c.did = append(c.did, "liberal "+t.String())
	}
	return nil
}

// RestoreTimeout writes "restore TUPLE".
func (c *Conntrack) RestoreTimeout(conn packet.Tuple, _ time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.did = append(c.did, "restore "+conn.String())
	return nil
}

// Take returns what was done since the last call, a line each.
func (c *Conntrack) Take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.did, "\n")
	c.did = nil
	return s
}

// rulesOf is the number of entries that are rules.
func rulesOf(s *share.Share) int {
	n := 0
	for _, e := range s.Entries {
		if e.Ending != share.Unsure {
			n++
		}
	}
	return n
}
