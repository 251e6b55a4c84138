package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RulesDemoReport is what the demo of rules found.
type RulesDemoReport struct {
	// Prefixes is the length of the blocklist.
	Prefixes int               `json:"prefixes"`
	Rows     []RulesDemoRow    `json:"rows"`
	Changes  []RulesDemoChange `json:"changes"`
	Checks   []Check           `json:"checks"`
}

// RulesDemoRow is one path of one kind of traffic: 64-byte frames from many addresses.
type RulesDemoRow struct {
	Path        string  `json:"path"`          // "nft-ingress": no daemon; "xdp"
	Traffic     string  `json:"traffic"`       // "blocked", "other"
	NsPerPacket float64 `json:"ns_per_packet"` // on one core, sender included
	Mpps        float64 `json:"mpps"`
	RatioToNFT  float64 `json:"ratio_to_nft"`
	DroppedAt   float64 `json:"dropped_at_xdp"` // 0 to 1, by the daemon's counters
	Arrived     float64 `json:"arrived"`        // 0 to 1, at the server
}

// RulesDemoChange is an element that was added or deleted with nft(8) while its traffic ran.
type RulesDemoChange struct {
	Command   string  `json:"command"`
	CommandMs float64 `json:"command_ms"` // what nft(8) took
	// EffectMs is from the kernel's commit until packets are stopped, or go on. ProgramMs is until the program stops them
	// before nftables sees them.
	EffectMs  float64 `json:"effect_ms"`
	ProgramMs float64 `json:"program_ms,omitempty"`
}

// OK reports whether all checks hold.
func (r RulesDemoReport) OK() bool { return DemoReport{Checks: r.Checks}.OK() }

const (
	demoPrefixes     = 100_000
	rulesDemoRounds  = 2
	rulesDemoChanges = 3
	blockedTraffic   = "blocked"
	otherTraffic     = "other"
)

// RulesDemo drops what a blocklist says: in nftables and, with the daemon, at XDP; and changes the list with nft while
// traffic flows. It leaves nothing behind, also when the context ends it.
func RulesDemo(ctx context.Context, o DemoOptions) (report RulesDemoReport, err error) {
	err = onOwnThread(func() (err error) {
		d := rulesDemo{demo: newDemo(o, 4*rulesDemoRounds+2*rulesDemoChanges+4), bursts: map[rulesDemoKey][]rulesDemoBurst{}}
		if d.core, err = pin(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		if err := d.build(ctx); err != nil {
			return err
		}
		if err := d.run(ctx); err != nil {
			return err
		}
		report = d.report()
		return nil
	})
	return report, err
}

type rulesDemoKey struct{ path, traffic string }

type rulesDemoBurst struct {
	burst
	sent, arrived, early uint64
}

type rulesDemo struct {
	*demo
	topo    *topology
	rules   *rulesBed // its sender is the client, its firewall the router
	server  *sink
	kind    chainKind
	traffic map[string]*generator
	bursts  map[rulesDemoKey][]rulesDemoBurst
	changes []RulesDemoChange
	cleanup []func() error
}

func (d *rulesDemo) later(f func() error) { d.cleanup = append(d.cleanup, f) }

func (d *rulesDemo) close() error {
	var errs []error
	for _, step := range slices.Backward(d.cleanup) {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

// build joins client, router and server, and loads the blocklist into the router.
func (d *rulesDemo) build(ctx context.Context) (err error) {
	d.step("building client, router and server")
	if d.topo, err = newTopology(silent); err != nil {
		return err
	}
	d.later(d.topo.close)
	// Nothing but what the generators send comes to r0.
	if err := d.topo.client.do(func() error { return sysctl("net/ipv6/conf/c0/disable_ipv6", "1") }); err != nil {
		return err
	}
	if d.server, err = newSink(frameLen); err != nil {
		return err
	}
	d.later(d.server.close)
	if err := d.server.attach(d.topo.s0); err != nil {
		return err
	}
	d.rules = &rulesBed{sender: d.topo.client, firewall: d.topo.router, c0: d.topo.c0, r0: d.topo.r0}
	d.later(d.rules.close)
	if d.rules.asIs, err = redirector(d.topo.c0); err != nil {
		return err
	}
	d.rules.later(d.rules.asIs.Close)
	d.kind = chainKind{shape: ShapeSet, keys: ShapePrefix, rules: 1, elements: demoPrefixes}
	if err := d.generators(); err != nil {
		return err
	}
	d.step(fmt.Sprintf("nft loads a blocklist of %d prefixes", demoPrefixes))
	if _, err := d.rules.load(ctx, d.kind.text(d.topo.r0.name)); err != nil {
		return err
	}
	_, err = d.rules.load(ctx, d.kind.fill())
	return err
}

// generators make the two kinds of traffic; both go to the server.
func (d *rulesDemo) generators() (err error) {
	s := sources{template: d.packet(), first: d.kind.source(0), step: elementSlot, count: demoPrefixes}
	d.traffic = map[string]*generator{}
	if d.traffic[blockedTraffic], err = newSources(d.topo.c0, s); err != nil {
		return err
	}
	d.later(func() error { d.traffic[blockedTraffic].close(); return nil })
	s.first, s.count = otherNet, 1<<16
	if d.traffic[otherTraffic], err = newSources(d.topo.c0, s); err != nil {
		return err
	}
	d.later(func() error { d.traffic[otherTraffic].close(); return nil })
	return nil
}

// run measures with and without the daemon in turns.
func (d *rulesDemo) run(ctx context.Context) error {
	var before []bool
	for round := range rulesDemoRounds {
		if err := d.measureAll(ctx, PathNFT, nil, round); err != nil {
			return err
		}
		if round == 0 {
			var err error
			if before, err = d.verdicts(); err != nil {
				return err
			}
		}
		d.step(fmt.Sprintf("round %d of %d: starting nft-offload at xdp", round+1, rulesDemoRounds))
		err := d.withRules(ctx, func(dm *daemon) error {
			if err := d.measureAll(ctx, PathXDP, dm, round); err != nil || round > 0 {
				return err
			}
			return errors.Join(d.sameVerdicts(before), d.changeAll(ctx, dm))
		})
		if err != nil {
			return err
		}
	}
	return d.nothingLeftOn(PathXDP, d.topo)
}

func (d *rulesDemo) report() RulesDemoReport {
	r := RulesDemoReport{Prefixes: demoPrefixes, Changes: d.changes}
	slow := map[string]float64{}
	for _, path := range []string{PathNFT, PathXDP} {
		for _, traffic := range []string{blockedTraffic, otherTraffic} {
			w := d.row(path, traffic)
			if path == PathNFT {
				slow[traffic] = w.NsPerPacket
			}
			w.RatioToNFT = slow[traffic] / w.NsPerPacket
			r.Rows = append(r.Rows, w)
		}
	}
	r.Checks = slices.Concat(d.shares(r.Rows), d.checks)
	return r
}

func (d *rulesDemo) row(path, traffic string) RulesDemoRow {
	w := RulesDemoRow{Path: path, Traffic: traffic}
	var ns []float64
	var packets, arrived, early uint64
	for _, s := range d.bursts[rulesDemoKey{path, traffic}] {
		ns = append(ns, s.ns())
		packets, arrived, early = packets+s.sent, arrived+s.arrived, early+s.early
	}
	w.NsPerPacket = median(ns)
	w.Mpps = 1000 / w.NsPerPacket
	w.Arrived = float64(arrived) / float64(max(packets, 1))
	w.DroppedAt = float64(early) / float64(max(packets, 1))
	return w
}

// shares checks that what is blocked was dropped, early, and all else arrived.
func (d *rulesDemo) shares(rows []RulesDemoRow) []Check {
	var out []Check
	for _, w := range rows {
		var sent, arrived, early uint64
		for _, s := range d.bursts[rulesDemoKey{w.Path, w.Traffic}] {
			sent, arrived, early = sent+s.sent, arrived+s.arrived, early+s.early
		}
		c := Check{Name: fmt.Sprintf("%s: %s traffic", w.Path, w.Traffic)}
		switch {
		case w.Traffic == otherTraffic:
			c.OK = arrived == sent && early == 0
		case w.Path == PathXDP:
			c.OK = arrived == 0 && early == sent
		default:
			c.OK = arrived == 0
		}
		c.Detail = fmt.Sprintf("%d packets, %d arrived, %d dropped at XDP", sent, arrived, early)
		out = append(out, c)
	}
	return out
}

// effectLimit is how long a change made with nft may take to have its effect.
const effectLimit = 100 * time.Millisecond
