package rules_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// place is a rule, or with Number 0 the policy of a chain.
type place struct {
	family ruleset.Family
	table  string
	chain  string
	number int // in its chain, from 1
}

// theHook is the number of no rule: an ingress hook of the inet family drops malformed packets before the first.
const theHook = -1

func (p place) String() string {
	switch p.number {
	case 0:
		return fmt.Sprintf("%s %s %s policy", p.family, p.table, p.chain)
	case theHook:
		return fmt.Sprintf("%s %s %s, for it is malformed", p.family, p.table, p.chain)
	}
	return fmt.Sprintf("%s %s %s rule %d", p.family, p.table, p.chain, p.number)
}

func placeOf(r *ruleset.Rule) place { return place{r.Family, r.Table, r.Chain, r.Index + 1} }

// fate is what becomes of a frame at the ingress hook.
type fate uint8

const (
	passes fate = iota
	drops
	forwards
)

func (f fate) String() string { return [...]string{"passes", "drops", "forwards"}[f] }

// expected is what package eval says of one frame.
type expected struct {
	fate   fate
	by     place   // who ended it
	counts []place // of the counters on the way, one for each counter statement
	bytes  uint64  // that each of them counts
	dups   int     // copies that rules made
	lost   bool    // the frame does not come to the hook
	steps  []eval.Step
}

// way is the rules that the frame met, for people.
func (x expected) way() string {
	var b strings.Builder
	for _, s := range x.steps {
		fmt.Fprintf(&b, "\t%s: matched %v, reached %d %s\n", placeOf(s.Rule), s.Matched, s.Reached, s.Verdict)
	}
	return b.String()
}

// count is what a counter says.
type count struct{ packets, bytes uint64 }

// oracle is package eval with a ruleset, for one device.
type oracle struct {
	eval *eval.Evaluator
	rs   *ruleset.Ruleset
	d    *device
}

// errMissing says that a rule asks for what the lab does not know.
var errMissing = errors.New("facts are missing")

func (l *lab) oracle(rs *ruleset.Ruleset, d *device) *oracle {
	o := &oracle{eval: eval.New(rs, l.devices), rs: rs, d: d}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				o.assume(t, r)
			}
		}
	}
	return o
}

// assume says how limits end that are far from being reached.
func (o *oracle) assume(t *ruleset.Table, r *ruleset.Rule) {
	for i, s := range r.Stmts {
		at := eval.Place{Family: t.Family, Table: t.Name, Chain: r.Chain, Index: r.Index, Stmt: i}
		switch s := s.(type) {
		case ruleset.Limit:
			o.eval.Assume(at, !s.Inv)
		case ruleset.Quota:
			o.eval.Assume(at, !s.Inv)
		}
	}
}

// run says what becomes of a frame.
func (o *oracle) run(frame []byte) (expected, error) {
	p := packetOf(o.d, frame)
	cpu := uint32(0)
	p.CPU = &cpu
	res := o.eval.Run(p)
	x := expected{bytes: ingressLength(frame)}
	switch res.Outcome {
	case eval.Accepted:
	case eval.Dropped:
		x.fate = drops
	case eval.Stolen:
		x.fate = forwards
	case eval.Lost:
		x.lost = true
		return x, nil
	case eval.Unknown, eval.Queued:
		return x, fmt.Errorf("%w: %v", errMissing, res.Missing)
	}
	x.steps = res.Steps
	for _, s := range res.Steps {
		for _, stmt := range s.Rule.Stmts[:min(s.Reached, len(s.Rule.Stmts))] {
			switch stmt.(type) {
			case ruleset.Counter:
				x.counts = append(x.counts, placeOf(s.Rule))
			case ruleset.Dup:
				x.dups++
			}
		}
	}
	if len(res.Chains) > 0 && x.fate != passes {
		last := res.Chains[len(res.Chains)-1]
		switch {
		case last.Policy:
			x.by = place{last.Chain.Family, last.Chain.Table, last.Chain.Name, 0}
		case last.Steps == 0:
			x.by = place{last.Chain.Family, last.Chain.Table, last.Chain.Name, theHook}
		default:
			x.by = placeOf(x.steps[len(x.steps)-1].Rule)
		}
	}
	return x, nil
}

// ingressLength is skb->len at the ingress hook: without the Ethernet header and the outer tag.
func ingressLength(frame []byte) uint64 {
	n := len(frame) - 14
	if isTagged(frame) {
		n -= 4
	}
	return uint64(max(n, 0))
}

func isTagged(frame []byte) bool {
	return len(frame) >= 14 && (frame[12] == 0x81 && frame[13] == 0 || frame[12] == 0x88 && frame[13] == 0xa8)
}

// sums adds up what is counted.
type sums map[place]count

func (s sums) add(x expected) {
	for _, p := range x.counts {
		c := s[p]
		s[p] = count{c.packets + 1, c.bytes + x.bytes}
	}
}

// kernelCounts are the counters of a listing.
func kernelCounts(rs *ruleset.Ruleset) sums {
	s := sums{}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, stmt := range r.Stmts {
					if n, ok := stmt.(ruleset.Counter); ok && n.Packets > 0 {
						had := s[placeOf(r)]
						s[placeOf(r)] = count{had.packets + n.Packets, had.bytes + n.Bytes}
					}
				}
			}
		}
	}
	return s
}

// compare returns where counts differ.
func compare(name string, got, want sums) []string {
	var out []string
	for p, w := range want {
		if g := got[p]; g != w {
			out = append(out, fmt.Sprintf("%s: %s %d packets %d bytes, eval %d packets %d bytes", p, name, g.packets, g.bytes, w.packets, w.bytes))
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok && g != (count{}) {
			out = append(out, fmt.Sprintf("%s: %s %d packets %d bytes, eval none", p, name, g.packets, g.bytes))
		}
	}
	return out
}
