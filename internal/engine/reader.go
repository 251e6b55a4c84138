package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Between two readings of the machine at least this much time passes, and at least ten times what the last reading
// took: a large ruleset takes a second to list, and it may change all the time. Where rules wait to be executed early
// again, it is as long as the last reading took.
const (
	readGap      = 100 * time.Millisecond
	readGapTimes = 10
	// readTries bounds one reading; the next change or this timeout starts another.
	readTimeout = 30 * time.Second
	readRetry   = 2 * time.Second
	// rulesRetry is when rules are read again that could not be read, and are nftables' meanwhile.
	rulesRetry = 10 * time.Second
)

// Read makes one reading of the machine. Without chains, rules are nftables' alone.
func Read(ctx context.Context, s Source, l Links, c Chains) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := s.Read(ctx)
	if err != nil {
		return View{}, fmt.Errorf("read ruleset: %w", err)
	}
	links, err := l.Devices(ctx)
	if err != nil {
		return View{}, fmt.Errorf("read devices: %w", err)
	}
	v := View{Ruleset: r, Links: links}
	if c != nil && ruled(r) {
		v.Chains = &ChainsView{}
		v.Chains.Rules, v.Chains.Machine, v.Chains.Err = c.Read(ctx)
	}
	return v, nil
}

// ruled reports whether there is anything that could run early.
func ruled(r handover.Ruleset) bool {
	return slices.ContainsFunc(r.Chains, func(c handover.Chain) bool {
		return c.Hook == "ingress" && (c.Rules > 0 || c.Policy == "drop")
	})
}

// reader reads the machine when asked. A request that comes while it reads is served by another reading afterwards,
// since this one may have missed what the request is about.
type reader struct {
	source Source
	links  Links
	chains Chains
	seq    func() uint64 // numbers the changes
	urgent func() bool   // rules wait for the next reading
	ask    chan struct{} // room for one
	views  chan View
	log    func(string, error)
}

func newReader(s Source, l Links, c Chains, seq func() uint64, urgent func() bool, log func(string, error)) *reader {
	return &reader{source: s, links: l, chains: c, seq: seq, urgent: urgent, ask: make(chan struct{}, 1), views: make(chan View), log: log}
}

func (r *reader) request() {
	select {
	case r.ask <- struct{}{}:
	default:
	}
}

// read notes which changes a reading has seen: all that were told of before it began.
func (r *reader) read(ctx context.Context) (View, error) {
	seq := r.seq()
	v, err := Read(ctx, r.source, r.links, r.chains)
	v.seq = seq
	return v, err
}

func (r *reader) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ask:
		}
		begin := time.Now()
		gap, rest := readGap, time.Duration(0)
		v, err := r.read(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log("read the machine", err)
			r.request()
			gap = readRetry
		default:
			if v.Chains != nil && v.Chains.Err != nil {
				r.log("read the rules", v.Chains.Err)
				time.AfterFunc(rulesRetry, r.request)
			}
			gap = max(gap, time.Since(begin))
			rest = (readGapTimes - 1) * time.Since(begin)
			select {
			case <-ctx.Done():
				return
			case r.views <- v:
			}
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(gap):
			}
			if rest < readGap || r.urgent() {
				break
			}
			gap, rest = readGap, rest-readGap
		}
	}
}
