package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/why"
)

// gatherer reads what `why` joins: itself, and not through the daemon, which may not be there.
type gatherer struct {
	env      *env
	machine  why.Machine
	ct       *conntrack.Conn
	handle   *link.Handle
	pins     *datapath.Pinned // nil: none
	names    map[uint32]string
	notracks []string
}

// gatherer opens everything and reads what does not change from second to second.
func (e *env) gatherer() (_ *gatherer, err error) {
	if err := privileged(); err != nil {
		return nil, err
	}
	g := &gatherer{env: e, names: map[uint32]string{}}
	p := e.progress()
	defer p.clear()
	p.step("read the ruleset and the devices", 0)
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.handle, err = link.Open(); err != nil {
		return nil, err
	}
	if g.ct, err = conntrack.Open(); err != nil {
		return nil, err
	}
	source := newWatchedRules()
	v, err := engine.Read(e.ctx, source, links{g.handle}, chains{e, source})
	if err != nil {
		return nil, err
	}
	g.machine.Links = v.Links
	if g.machine.Kernel, err = runningKernel(); err != nil {
		return nil, err
	}
	for _, l := range v.Links {
		g.names[l.Ifindex] = l.Name
	}
	g.machine.Flowtables = v.Flowtables()
	if g.machine.Rules, err = nft.Read(e.ctx, "", nil); err != nil {
		g.unseen("which rules its packets meet: %v", err)
	}
	for _, a := range v.Ruleset.Adds() {
		g.machine.Adds = append(g.machine.Adds, why.Add(a))
	}
	for _, r := range v.Ruleset.Notracks() {
		g.notracks = append(g.notracks, fmt.Sprintf("%s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle))
	}
	if err := g.askDaemon(v); err != nil {
		return nil, err
	}
	return g, g.openPins()
}

// askDaemon takes its decisions, which know what could not be attached; without one, what would be decided.
func (g *gatherer) askDaemon(v engine.View) error {
	c, err := g.env.client()
	if err != nil {
		return err
	}
	s, err := c.Status(g.env.ctx)
	switch {
	case err == nil:
		g.machine.Daemon, g.machine.Decisions = true, s.Devices
		return nil
	case g.env.ctx.Err() != nil:
		return g.env.ctx.Err()
	case !errors.Is(err, api.ErrNoDaemon):
		g.unseen("what the daemon decided: %v", err)
	}
	// Without choices every decision can be followed: no error.
	g.machine.Decisions, _ = engine.Check(v, nil)
	return nil
}

func (g *gatherer) unseen(format string, args ...any) {
	g.machine.Unseen = append(g.machine.Unseen, fmt.Sprintf(format, args...))
}

// openPins looks for a datapath that is on a device.
func (g *gatherer) openPins() error {
	ns, err := namespace()
	if err != nil {
		return err
	}
	carries, err := g.env.places.carries(ns)
	if err != nil || !carries && !g.machine.Daemon {
		return err
	}
	g.pins, err = datapath.Look(g.env.places.pins(ns))
	switch {
	case errors.Is(err, os.ErrNotExist):
		if g.machine.Daemon { // it runs with a bpf file system that is not mounted here
			g.machine.Pinned = true
			g.unseen("the datapath: its pins are not in this mount namespace; use --netns in place of `ip netns exec`")
		}
		return nil
	case errors.Is(err, datapath.ErrIncompatible):
		g.machine.Pinned = true
		g.unseen("the datapath: it is of another version than this command")
		return nil
	case err != nil:
		return err
	}
	g.machine.Pinned, g.machine.MinPackets = true, g.pins.MinPackets()
	return nil
}

func (g *gatherer) close() {
	if g.pins != nil {
		_ = g.pins.Close()
	}
	if g.ct != nil {
		_ = g.ct.Close()
	}
	if g.handle != nil {
		_ = g.handle.Close()
	}
}

// knows returns a device, and whether a flowtable lists one of that name.
func (g *gatherer) knows(name string) (*engine.Link, bool) {
	listed := slices.ContainsFunc(g.machine.Decisions, func(d engine.Decision) bool { return d.Name == name })
	for i := range g.machine.Links {
		if g.machine.Links[i].Name == name {
			return &g.machine.Links[i], listed
		}
	}
	return nil, listed
}

func (g *gatherer) attached(ifindex uint32) ([]string, error) {
	if g.pins == nil {
		return nil, nil
	}
	return g.pins.Attached(ifindex)
}

// twice looks at the flows of a pattern, waits, and looks again.
func (g *gatherer) twice(p why.Pattern) (before, after why.Snapshot, err error) {
	before, after, err = g.watch(func() (why.Snapshot, error) { return g.look(p) })
	for _, c := range after.Connections {
		g.machine.Accounting = g.machine.Accounting || c.Counts[0].Packets+c.Counts[1].Packets > 0
	}
	return before, after, err
}

// twiceAt looks at the flows through a device.
func (g *gatherer) twiceAt(name string) (before, after why.Snapshot, err error) {
	through := func(in, out string) bool { return in == name || out == name }
	return g.watch(func() (why.Snapshot, error) {
		return g.lookAtDatapath(func(f engine.Flow) bool { return through(f.In, f.Out) }, func(r engine.Refused) bool { return through(r.In, r.Out) })
	})
}

// watch looks twice and shows how time passes.
func (g *gatherer) watch(look func() (why.Snapshot, error)) (before, after why.Snapshot, err error) {
	p := g.env.progress()
	defer p.clear()
	p.step("look at flows", 0)
	if before, err = look(); err != nil {
		return before, after, err
	}
	begin := time.Now()
	const steps = 10
	for i := range steps {
		p.step("watch their counters", float64(i+1)/(steps+1))
		if err := pause(g.env.ctx, time.Until(begin.Add(betweenLooks*time.Duration(i+1)/steps))); err != nil {
			return before, after, err
		}
	}
	g.machine.Period = time.Since(begin).Round(time.Millisecond)
	p.step("look again", 1)
	after, err = look()
	return before, after, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// look reads the flows of a pattern.
func (g *gatherer) look(p why.Pattern) (why.Snapshot, error) {
	s, err := g.lookAtDatapath(p.MatchEntry, func(engine.Refused) bool { return true })
	if err != nil {
		return s, err
	}
	for e, err := range g.ct.Dump(conntrack.Filter{OtherZones: true, OtherL4Protocols: true}) {
		if err != nil {
			return s, err
		}
		if g.env.ctx.Err() != nil {
			return s, g.env.ctx.Err()
		}
		if c := connectionOf(e); p.Match(c) {
			s.Connections = append(s.Connections, c)
		}
	}
	return s, nil
}

func (g *gatherer) lookAtDatapath(flow func(engine.Flow) bool, refused func(engine.Refused) bool) (why.Snapshot, error) {
	var s why.Snapshot
	if g.pins == nil {
		return s, nil
	}
	flows, err := g.pins.Flows()
	if err != nil {
		return s, err
	}
	for _, l := range flows {
		f := engineFlow(l)
		f.In, f.Out = g.names[f.InIndex], g.names[f.OutIndex]
		if flow(f) {
			s.Entries = append(s.Entries, f)
		}
	}
	all, err := g.pins.Refused()
	if err != nil {
		return s, err
	}
	passed, err := g.pins.Passed()
	if err != nil {
		return s, err
	}
	for _, l := range append(all, passed...) {
		r := engineRefused(l)
		r.In, r.Out = g.names[r.InIndex], g.names[r.OutIndex]
		if refused(r) {
			s.Refused = append(s.Refused, r)
		}
	}
	stats, err := g.pins.Stats()
	s.Reasons = engineStats(stats).Reasons
	return s, err
}

// routes asks the routing table where the two ends of a connection are.
func (g *gatherer) routes(c why.Connection) (why.Routing, bool) {
	from, err := g.handle.Route(c.Orig.Src.Addr())
	if err != nil {
		return why.Routing{}, false // no route: nothing is known
	}
	to, err := g.handle.Route(c.Reply.Src.Addr())
	if err != nil {
		return why.Routing{}, false
	}
	r := why.Routing{In: g.names[from.Ifindex], Out: g.names[to.Ifindex], Local: from.Local || to.Local}
	for _, way := range []link.Route{from, to} {
		if !r.Local && !r.NoNeighbor.IsValid() && g.stranger(way) {
			r.NoNeighbor = way.Hop
		}
	}
	return r, true
}

// stranger reports whether a next hop has a MAC address that is not known.
func (g *gatherer) stranger(way link.Route) bool {
	l, _ := g.knows(g.names[way.Ifindex])
	if l == nil || !l.Ethernet || !way.Hop.IsValid() {
		return false
	}
	known, err := g.handle.Neighbor(way.Ifindex, way.Hop)
	return err == nil && !known
}

// nothing is what is known where no flow matches.
func (g *gatherer) nothing(p why.Pattern) (why.Nothing, error) {
	u, err := g.ct.Usage()
	return why.Nothing{Pattern: p, Tracked: u.Entries, Notracks: g.notracks}, err
}

func connectionOf(e conntrack.Entry) why.Connection {
	c := why.Connection{
		Orig: e.Orig, Reply: e.Reply, Zone: e.Zone, Status: strings.Split(e.Status.String(), ","), Helper: e.Helper, Mark: e.Mark,
		Labels: e.Labels, Liberal: e.TCP.Liberal(), Timeout: e.Timeout, HasTimeout: e.HasTimeout,
		Counts: [2]engine.Counter{engine.Counter(e.CountOrig), engine.Counter(e.CountReply)},
		Bits: why.Bits{
			SeenReply: e.Status.Has(conntrack.SeenReply), Assured: e.Status.Has(conntrack.Assured),
			Confirmed: e.Status.Has(conntrack.Confirmed), Dying: e.Status.Has(conntrack.Dying),
			SeqAdjust: e.Status.Has(conntrack.SeqAdjust), NATClash: e.Status.Has(conntrack.NATClash),
			Offload: e.Status.Has(conntrack.Offload), HWOffload: e.Status.Has(conntrack.HWOffload),
		},
	}
	if e.TCP != nil {
		c.State = e.TCP.State.String()
	}
	return c
}
