package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Rules measures what a packet costs that a netdev ingress chain drops: in nftables, and in the program generated for the
// chain, at XDP and at tc. It leaves nothing behind, also when the context ends it.
func Rules(ctx context.Context, o RulesOptions) (report RulesReport, err error) {
	o = o.withDefaults()
	err = onOwnThread(func() (err error) {
		r := rulesRunner{RulesOptions: o}
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

type rulesRunner struct {
	RulesOptions
	pins pins
	core core
	done float64
	// started and planned say how long the benchmark has taken, and may take: later chains have fewer rounds where it
	// takes longer.
	started time.Time
	planned time.Duration
}

// Of each chain: how long it may take on average, and the rounds that it has at least.
const (
	perChain    = 10 * time.Second
	leastRounds = 3
)

func (r *rulesRunner) all(ctx context.Context, report *RulesReport) error {
	groups := r.groups()
	r.started, r.planned = time.Now(), time.Duration(len(groups))*perChain
	for i, k := range groups {
		r.done = float64(i) / float64(len(groups))
		if err := r.group(ctx, k, 1/float64(len(groups)), report); err != nil {
			return fmt.Errorf("measure %s: %w", k, err)
		}
	}
	return nil
}

// group measures one chain by all paths; share is its part of all the work.
func (r *rulesRunner) group(ctx context.Context, k chainKind, share float64, report *RulesReport) (err error) {
	r.Progress(fmt.Sprintf("%s: loading", k), r.done)
	b, err := newRulesBed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	g, s, err := b.generator(k)
	if err != nil {
		return err
	}
	rs, costs, err := b.install(ctx, k)
	if err != nil {
		return err
	}
	o, err := b.expect(rs, k, g)
	if err != nil {
		return err
	}
	paths, err := r.paths(ctx, b, k, rs, s, costs, report)
	if err != nil {
		return err
	}
	checked, err := r.checkAll(ctx, b, k, paths, o, report)
	if err != nil {
		return err
	}
	before, err := b.ledger(ctx, checked)
	if err != nil {
		return err
	}
	bursts, err := r.rounds(ctx, b, k, g, checked, share)
	if err != nil {
		return err
	}
	if n := len(bursts[PathNFT]); n < r.Rounds {
		report.Cut = append(report.Cut, fmt.Sprintf("%s: %d of %d rounds", k, n, r.Rounds))
	}
	after, err := b.ledger(ctx, checked)
	if err != nil {
		return err
	}
	for _, p := range checked {
		if counted := after[p.name] - before[p.name]; p.counts != nil && counted != p.landed {
			report.Refused = append(report.Refused, k.refuse(p.name, fmt.Errorf("%d frames came, and its rules counted %d", p.landed, counted)))
			continue
		}
		n := 0
		if p.name != PathSender && p.name != PathDrop {
			n = len(o.frames)
		}
		report.Rows = append(report.Rows, k.row(p, bursts[p.name], n))
	}
	return nil
}

// generator sends the frames that are measured.
func (b *rulesBed) generator(k chainKind) (*generator, sources, error) {
	s := sources{template: k.hit(k.rules-1, template(b.c0, b.r0)), first: k.source(k.rules - 1), step: ruleSlot, count: 1}
	if k.shape == ShapeSet {
		s.first, s.step, s.count = k.source(0), elementSlot, k.elements
	}
	g, err := newSources(b.c0, s)
	if err != nil {
		return nil, s, err
	}
	b.later(func() error { g.close(); return nil })
	return g, s, nil
}

// install loads the chain and fills its set.
func (b *rulesBed) install(ctx context.Context, k chainKind) (rs *ruleset.Ruleset, c Costs, err error) {
	took, err := b.load(ctx, k.text(b.r0.name))
	if err != nil {
		return nil, c, err
	}
	c.LoadMs = inMillis(took)
	if rs, err = b.read(ctx, k); err != nil {
		return nil, c, err
	}
	if k.shape == ShapeSet {
		if took, err = b.fill(ctx, k); err != nil {
			return nil, c, err
		}
		c.FillMs = inMillis(took)
		took, err = b.kernelChange(k)
		c.ChangeMs = inMillis(took)
		return rs, c, err
	}
	if took, err = b.load(ctx, k.again()); err != nil {
		return nil, c, err
	}
	c.ReloadMs = inMillis(took)
	// The rules have new handles.
	rs, err = b.read(ctx, k)
	return rs, c, err
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// previewed is how many of the frames that are measured are checked.
const previewed = 16

func (b *rulesBed) expect(rs *ruleset.Ruleset, k chainKind, g *generator) (*oracle, error) {
	frames, err := g.preview(previewed)
	if err != nil {
		return nil, err
	}
	return b.ask(rs, append(frames, k.samples(template(b.c0, b.r0))...))
}

// paths makes all paths. One that cannot be made is in the report.
func (r *rulesRunner) paths(ctx context.Context, b *rulesBed, k chainKind, rs *ruleset.Ruleset, s sources, costs Costs, report *RulesReport) ([]*rulesPath, error) {
	paths := []*rulesPath{{name: PathNFT, on: nothing, off: nothing, counts: b.counted, costs: costs}}
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		r.Progress(fmt.Sprintf("%s: loading the program for %s", k, hook), r.done)
		p, err := b.early(ctx, r.pins, k, rs, hook)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			report.Refused = append(report.Refused, k.refuse(hook.String(), err))
			continue
		}
		paths = append(paths, p)
	}
	drop, err := b.dropAll()
	if err != nil {
		return nil, err
	}
	sender, err := b.writer(s)
	if err != nil {
		return nil, err
	}
	return append(paths, drop, sender), nil
}

// checkAll returns the paths that passed the check; the others are in the report.
func (r *rulesRunner) checkAll(ctx context.Context, b *rulesBed, k chainKind, paths []*rulesPath, o *oracle, report *RulesReport) (passed []*rulesPath, err error) {
	for _, p := range paths {
		r.Progress(fmt.Sprintf("%s: checking %s", k, p.name), r.done)
		if p.name != PathDrop && p.name != PathSender {
			err := b.check(ctx, p, o)
			if wrong, ok := errors.AsType[*WrongError](err); ok {
				report.Refused = append(report.Refused, k.refuse(p.name, wrong))
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("check %s: %w", p.name, err)
			}
		}
		passed = append(passed, p)
	}
	return passed, nil
}

// firstEstimate is what a packet may take, in ns, as long as nobody knows.
const firstEstimate = 10_000.0

func (r *rulesRunner) rounds(ctx context.Context, b *rulesBed, k chainKind, g *generator, paths []*rulesPath, share float64) (map[string][]burst, error) {
	bursts, estimates := map[string][]burst{}, map[string]*float64{}
	late := time.Duration(float64(r.planned) * (r.done + share))
	for round := range r.Rounds {
		if round >= leastRounds && time.Since(r.started) > late {
			break
		}
		for _, p := range paths {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r.Progress(fmt.Sprintf("%s, round %d of %d: %s", k, round+1, r.Rounds, p.name), r.done)
			if estimates[p.name] == nil {
				e := firstEstimate
				estimates[p.name] = &e
			}
			s, err := b.measure(r.core, p, g, r.Window, estimates[p.name])
			if err != nil {
				return nil, fmt.Errorf("path %s: %w", p.name, err)
			}
			bursts[p.name] = append(bursts[p.name], s)
			r.done += share / float64(r.Rounds*len(paths))
		}
	}
	return bursts, nil
}
