package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// oracle says what becomes of frames that arrive at r0.
type oracle struct {
	rules  *ruleset.Ruleset
	chain  *ruleset.Chain
	frames [][]byte
	drops  []bool       // by frame
	counts []eval.Count // by rule, of all frames
}

var (
	errNoChain   = errors.New("nft does not list the chain that was loaded")
	errNoVerdict = errors.New("eval cannot say what becomes of a frame")
)

// read is the ruleset of the firewall as the daemon reads it, with the elements of the set that are to be loaded.
func (b *rulesBed) read(ctx context.Context, k chainKind) (rs *ruleset.Ruleset, err error) {
	err = b.firewall.do(func() error {
		_, rs, err = nft.ListWhole(ctx, &b.compared)
		return err
	})
	if err != nil {
		return nil, err
	}
	t := rs.Table(ruleset.Netdev, rulesTable)
	if t == nil || t.Chain(rulesChain) == nil {
		return nil, errNoChain
	}
	if s := t.Set(rulesSet); s != nil {
		s.Elems = k.elems()
	}
	return rs, nil
}

// ask evaluates the frames.
func (b *rulesBed) ask(rs *ruleset.Ruleset, frames [][]byte) (*oracle, error) {
	o := &oracle{rules: rs, chain: rs.Table(ruleset.Netdev, rulesTable).Chain(rulesChain), frames: frames}
	in := &eval.Device{Name: b.r0.name, Index: uint32(b.r0.index), MAC: &b.r0.mac, Kind: "veth"}
	e := eval.New(rs, map[string]uint32{b.r0.name: uint32(b.r0.index)})
	for _, f := range frames {
		r := e.Run(eval.Packet{Frame: f, In: in, Route: eval.RouteIngress})
		if r.Outcome != eval.Accepted && r.Outcome != eval.Dropped {
			return nil, fmt.Errorf("%w: %s: %s", errNoVerdict, r.Outcome, r.Why)
		}
		o.drops = append(o.drops, r.Outcome == eval.Dropped)
	}
	for _, r := range o.chain.Rules {
		var c eval.Count
		for _, n := range e.Counts(r) {
			c = n
		}
		o.counts = append(o.counts, c)
	}
	return o, nil
}

// check sends the frames by a path and compares verdicts and counters. A frame that no rule drops is the kernel's, also
// where a program looks at it first.
func (b *rulesBed) check(ctx context.Context, p *rulesPath, o *oracle) (err error) {
	if err := p.on(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.off()) }()
	if p.dropped != nil {
		for i, f := range o.frames {
			drop, err := p.dropped(f)
			if err != nil {
				return err
			}
			if drop != o.drops[i] {
				return &WrongError{fmt.Sprintf("frame %x: dropped %v, and eval says %v", f, drop, o.drops[i])}
			}
		}
	}
	kernel, program, err := b.bothCounts(ctx, p)
	if err != nil {
		return err
	}
	if err := b.deliver(o.frames); err != nil {
		return err
	}
	kernelAfter, programAfter, err := b.bothCounts(ctx, p)
	if err != nil {
		return err
	}
	if p.dropped == nil {
		return compareCounts("nftables", kernel, kernelAfter, o.counts)
	}
	// All rules drop: whatever a rule counts is dropped by the program, and the kernel has nothing left to count.
	return errors.Join(compareCounts("the program", program, programAfter, o.counts),
		compareCounts("nftables behind the program", kernel, kernelAfter, make([]eval.Count, len(o.counts))))
}

func (b *rulesBed) bothCounts(ctx context.Context, p *rulesPath) (kernel, program []eval.Count, err error) {
	if kernel, err = b.counted(ctx); err != nil || p.dropped == nil {
		return kernel, nil, err
	}
	program, err = p.counts(ctx)
	return kernel, program, err
}

// ledger sums up what the rules have counted on each path.
func (b *rulesBed) ledger(ctx context.Context, paths []*rulesPath) (map[string]uint64, error) {
	sums := map[string]uint64{}
	for _, p := range paths {
		if p.counts == nil {
			continue
		}
		counts, err := p.counts(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			sums[p.name] += c.Packets
		}
	}
	return sums, nil
}

// WrongError is a verdict or a counter that is not what eval says.
type WrongError struct{ What string }

// Error says what differs.
func (e *WrongError) Error() string { return e.What }

func compareCounts(who string, before, after, want []eval.Count) error {
	if len(before) != len(want) || len(after) != len(want) {
		return &WrongError{fmt.Sprintf("%s has %d counters, and the chain %d", who, len(after), len(want))}
	}
	for i, w := range want {
		got := eval.Count{Packets: after[i].Packets - before[i].Packets, Bytes: after[i].Bytes - before[i].Bytes}
		if got != w {
			return &WrongError{fmt.Sprintf("rule %d: %s counted %d packets, %d bytes, and eval says %d, %d",
				i+1, who, got.Packets, got.Bytes, w.Packets, w.Bytes)}
		}
	}
	return nil
}
