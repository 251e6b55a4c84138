package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Flows runs the benchmark. It leaves nothing behind, also when the context ends it.
func Flows(ctx context.Context, o Options) (report Report, err error) {
	o = o.withDefaults()
	err = onOwnThread(func() (err error) {
		r := runner{Options: o}
		if r.pins, err = newPins(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.pins.remove()) }()
		if r.core, err = pin(); err != nil {
			return err
		}
		if report.Machine, err = machine(r.core.cpu); err != nil {
			return err
		}
		before, err := loadOfOthers(r.core.cpu)
		if err != nil {
			return err
		}
		if err := r.all(ctx, &report); err != nil {
			return err
		}
		after, err := loadOfOthers(r.core.cpu)
		report.Machine.OthersBusy = after.since(before)
		report.Targets = report.targets()
		report.Method = r.method(report.Machine)
		return err
	})
	return report, err
}

type runner struct {
	Options
	pins pins
	core core
	done float64
}

func (r *runner) all(ctx context.Context, report *Report) error {
	hooks := []datapath.Hook{datapath.HookTC, datapath.HookXDP}
	protos := []uint8{packet.UDP, packet.TCP}
	if r.Quick {
		hooks, protos = hooks[:1], protos[:1]
	}
	total := float64(len(r.Families)*len(r.Flows) + 1)
	for _, f := range r.Families {
		for _, n := range r.Flows {
			rows, err := r.flows(ctx, f == familyIP6, n, 1/total, report)
			if err != nil {
				return fmt.Errorf("measure %d flows of %s: %w", n, f, err)
			}
			report.Rows = append(report.Rows, rows...)
		}
	}
	for _, proto := range protos {
		if r.Pairs < 0 {
			break
		}
		for _, hook := range hooks {
			c, err := r.connections(ctx, proto, hook, r.Pairs, 1/total/float64(len(protos)*len(hooks)))
			if err != nil {
				return fmt.Errorf("measure new connections: %w", err)
			}
			report.Connections = append(report.Connections, c)
		}
	}
	return nil
}

// flows measures all paths with n established flows; share is its part of all the work.
func (r *runner) flows(ctx context.Context, six bool, n int, share float64, report *Report) (rows []Row, err error) {
	b, err := newBed(ctx, r.pins, silent, frameLen)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	fl, err := b.newFlows(six, 0, n)
	if err != nil {
		return nil, err
	}
	b.later(fl.close)
	paths, err := b.paths(six, fl, report)
	if err != nil {
		return nil, err
	}
	samples := map[string][]sample{}
	estimate := map[string]*float64{}
	for _, p := range paths {
		e := 1000.0
		estimate[p.name] = &e
	}
	for round := range r.Rounds {
		for _, p := range paths {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r.Progress(fmt.Sprintf("%s, %d flows, round %d of %d: %s", family(six), n, round+1, r.Rounds, p.name), r.done)
			s, err := r.measure(p, fl, estimate[p.name])
			if err != nil {
				return nil, fmt.Errorf("path %s: %w", p.name, err)
			}
			samples[p.name] = append(samples[p.name], s)
			r.done += share / float64(r.Rounds*len(paths))
		}
	}
	for _, p := range paths {
		rows = append(rows, row(p, six, n, samples[p.name]))
	}
	return rows, nil
}

// paths makes all ways with their flows: live ones, learned in both directions, or inserted ones, of which the slow
// path knows nothing.
func (b *bed) paths(six bool, fl *flows, report *Report) ([]*path, error) {
	ours, paths := b.inserted, []*path{}
	if fl.n <= mostLive {
		ours, paths = b.learned, append(paths, b.plain())
		if err := b.establish(fl); err != nil {
			return nil, err
		}
		if err := b.checkTranslation(b.upstream(six, 0, fl.n)); err != nil {
			return nil, err
		}
	}
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		p, d, err := ours(hook, six, fl)
		if err != nil {
			return nil, err
		}
		s, err := d.Stats()
		if err != nil {
			return nil, err
		}
		report.bytes(six, s.BytesPerFlow)
		paths = append(paths, p)
	}
	raw, err := b.raw()
	if err != nil {
		return nil, err
	}
	sender, err := b.sender()
	if err != nil {
		return nil, err
	}
	return append(paths, raw, sender), nil
}

// longestLease is what a daemon lets leases become at most, whatever the number of flows: half of the shortest timeout
// of an established flow (30 s, net.netfilter.nf_conntrack_udp_timeout).
const longestLease = 15 * time.Second

// learned is one of our paths, with flows that it learned from the kernel.
func (b *bed) learned(hook datapath.Hook, _ bool, fl *flows) (*path, *datapath.Datapath, error) {
	// Both directions, and room for a few more.
	p, d, err := b.offload(hook, datapath.Config{MinPackets: 1, MaxFlows: max(1<<17, uint32(2*fl.n+1024))}, beat{fl.n, longestLease})
	if err != nil {
		return nil, nil, err
	}
	p.window = leaseWindow(fl.n)
	s, err := b.learnMost(p, d, fl)
	if err != nil {
		return nil, nil, err
	}
	if ready(s, fl) < enough {
		return nil, nil, fmt.Errorf("learn flows at %s: only %d of %d directions became ready: %v", hook, s.Ready, 2*fl.n, s.Reasons)
	}
	return p, d, nil
}

// Shares of the directions that are ready: what a measurement needs, and what is tried for.
const (
	enough = 0.95
	plenty = 0.995
)

// learnMost sends the flows' packets until most flows are ready, a few times at most. A packet teaches nothing where the
// note about it was overwritten by that of another one that the kernel took in with it; the flow's next ones do.
func (b *bed) learnMost(p *path, d *datapath.Datapath, fl *flows) (s datapath.Stats, err error) {
	for range 4 {
		if err = b.learn(p, fl); err != nil {
			return s, err
		}
		if s, err = d.Stats(); err != nil || ready(s, fl) >= plenty {
			return s, err
		}
	}
	return s, nil
}

// ready is the share of the flows' directions that have a lease.
func ready(s datapath.Stats, fl *flows) float64 { return float64(s.Ready) / float64(2*fl.n) }

// inserted is one of our paths, with one flow that it learned and copies of it.
func (b *bed) inserted(hook datapath.Hook, six bool, fl *flows) (*path, *datapath.Datapath, error) {
	// No renewal and no look at conntrack in an hour: there is nothing behind these flows.
	never := beat{active: 1 << 30, longest: time.Hour}
	p, d, err := b.offload(hook, datapath.Config{MinPackets: 1, MaxFlows: uint32(fl.n + 1024)}, never)
	if err != nil {
		return nil, nil, err
	}
	one, err := b.newFlows(six, 0, 1)
	if err != nil {
		return nil, nil, err
	}
	defer one.close() //nolint:errcheck // it has none
	if err := b.learn(p, one); err != nil {
		return nil, nil, err
	}
	in, err := newInserter(b.pins.dir(hook.String()), six, b.topo.r0)
	if err != nil {
		return nil, nil, err
	}
	b.later(in.close)
	// A sweep sets the bits in front of the table for what it finds there.
	if err := in.fill(fl.n); err != nil {
		return nil, nil, err
	}
	if _, err := d.Sweep(); err != nil {
		return nil, nil, err
	}
	p.renew = func() error { return in.fill(fl.n) }
	p.window = leaseWindow(0)
	return p, d, nil
}

// leaseWindow is how long to measure so that each of n active flows has had its renewal: due after a second, or later
// with more flows than datapath's budget of 20,000 renewals a second allows, and up to 250 ms later where it waits for
// a better packet.
func leaseWindow(n int) time.Duration {
	const budget = 20_000
	return max(time.Second, time.Duration(n)*time.Second/budget) + 250*time.Millisecond
}

func (b *bed) learn(p *path, fl *flows) error {
	if err := errors.Join(p.on(), p.beat()); err != nil {
		return err
	}
	return errors.Join(b.establish(fl), p.off())
}

// measure switches a path on, lets it settle, and measures it.
func (r *runner) measure(p *path, fl *flows, estimate *float64) (s sample, err error) {
	if err := p.on(); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.off()) }()
	if p.renew != nil {
		if err := p.renew(); err != nil {
			return s, err
		}
	}
	window := r.window(p)
	if p.beat != nil {
		if err := p.beat(); err != nil {
			return s, err
		}
	}
	// Every flow passes, so that each has a lease again, and for a while on top.
	if _, err := fl.up.send(fl.n); err != nil {
		return s, err
	}
	if _, err := p.run(r.core, fl.up, min(warmTime, window/3), estimate); err != nil {
		return s, err
	}
	return p.run(r.core, fl.up, window, estimate)
}

// window is how long a path is measured in a round.
func (r *runner) window(p *path) time.Duration {
	if r.Window > 0 {
		return r.Window
	}
	if p.window > 0 {
		return p.window
	}
	return otherWindow
}

// otherWindow is how long paths without leases are measured.
const otherWindow = 300 * time.Millisecond
