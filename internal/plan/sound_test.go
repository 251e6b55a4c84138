package plan

import (
	"flag"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

var seed = flag.Uint64("seed", 1, "seed of the random rulesets and packets")

func ingress(frame []byte) eval.Packet {
	return eval.Packet{Frame: frame, In: &eval.Device{Name: "eth0", Index: 2}, Route: eval.RouteIngress, NoSocket: true}
}

func TestEarlyExecutionGivesTheVerdictOfTheWholeRuleset(t *testing.T) {
	const rulesets, packets = 3000, 25
	t.Logf("seed %d", *seed)
	early, finals := 0, 0
	for i := range uint64(rulesets) {
		r := newRandom(*seed<<32 + i)
		rs := r.ruleset(2+r.IntN(8), r.IntN(2) == 0)
		name := pick(r, "mlx5-uplink", "ice-uplink", "nfp", "cxgb4", "ixgbe", "mlxsw", "prestera", "netdevsim-fake")
		p, ok := caps.Lookup(name)
		if !ok {
			t.Fatalf("no profile %s", name)
		}
		pl := Make(rs, caps.Assume(p, "eth0", "eth1"), Options{})
		stages := newStages(pl.judged[0].entries, rs)
		full := eval.New(rs, map[string]uint32{"eth0": 2, "eth1": 3})
		for range packets {
			frame, sees := r.packet()
			want := full.Run(ingress(frame))
			if want.Outcome == eval.Unknown {
				t.Fatalf("seed %d ruleset %d: eval does not know: %v", *seed, i, want.Missing)
			}
			for _, blind := range sees {
				early++
				got, ok := stages.run(frame, blind)
				if !ok {
					continue
				}
				finals++
				if got.outcome != want.Outcome || !slices.Equal(got.counted, counted(want)) {
					t.Fatalf("seed %d ruleset %d on %s: early at %s: %s, counted %v; whole ruleset: %s, counted %v\nframe %x blindness %d\n%s\n%s",
						*seed, i, name, got.tier, got.outcome, got.counted, want.Outcome, counted(want), frame, blind, rs, pl.Text())
				}
			}
		}
	}
	t.Logf("%d packets, %d of them decided early", early, finals)
	if finals < early/20 {
		t.Errorf("only %d of %d packets were decided early: the test proves little", finals, early)
	}
}

// stages executes the entries of a share as hardware and the program at XDP would.
type stages struct {
	entries []*entry
	match   [][]*eval.Evaluator // of each entry, one for each rule on the way
}

func newStages(entries []*entry, rs *ruleset.Ruleset) stages {
	s := stages{entries: entries}
	for _, e := range entries {
		var of []*eval.Evaluator
		for _, step := range e.steps {
			of = append(of, eval.New(onlyMatches(rs, step), map[string]uint32{"eth0": 2, "eth1": 3}))
		}
		s.match = append(s.match, of)
	}
	return s
}

// onlyMatches is a ruleset with one rule, which drops what it matches.
func onlyMatches(rs *ruleset.Ruleset, step []ruleset.Match) *ruleset.Ruleset {
	t := *rs.Tables[0]
	r := &ruleset.Rule{Family: t.Family, Table: t.Name, Chain: "ingress"}
	for _, m := range step {
		r.Stmts = append(r.Stmts, m)
	}
	r.Stmts = append(r.Stmts, ruleset.Verdict{Kind: ruleset.Drop})
	t.Chains = []*ruleset.Chain{{
		Family: t.Family, Table: t.Name, Name: "ingress", Rules: []*ruleset.Rule{r},
		Base: &ruleset.Base{Type: "filter", Hook: "ingress", Devices: []string{"eth0"}},
	}}
	return &ruleset.Ruleset{Tables: []*ruleset.Table{&t}}
}

// matches reports whether a packet is one of an entry's, for hardware of a blindness.
func (s stages) matches(i int, frame []byte, blind int) bool {
	if blind == nothingTagged && !s.entries[i].asksForTag() && slices.ContainsFunc(s.entries[i].steps, readsPacket) {
		return false
	}
	for j, ev := range s.match[i] {
		if blind != seesAll && blind != nothingTagged && slices.ContainsFunc(s.entries[i].steps[j], func(m ruleset.Match) bool { return reads(m, blind) }) {
			return false
		}
		if ev.Run(ingress(frame)).Outcome != eval.Dropped {
			return false
		}
	}
	return true
}

// asksForTag reports whether the entry matches on a VLAN tag.
func (e *entry) asksForTag() bool {
	return slices.ContainsFunc(e.steps, func(step []ruleset.Match) bool {
		return slices.ContainsFunc(step, func(m ruleset.Match) bool {
			p, ok := m.Left.(ruleset.Payload)
			return ok && p.Proto == "vlan"
		})
	})
}

// readsPacket reports whether some match reads more than the link header.
func readsPacket(step []ruleset.Match) bool {
	return slices.ContainsFunc(step, func(m ruleset.Match) bool {
		p, ok := m.Left.(ruleset.Payload)
		return !ok || p.Proto != "ether"
	})
}

// decision is what early execution did with a packet.
type decision struct {
	outcome eval.Outcome
	counted []string
	tier    Tier
}

// run is what early execution decides about a packet; false when it leaves it to the kernel.
func (s stages) run(frame []byte, blind int) (decision, bool) {
	for _, tier := range []Tier{Hardware, XDP} {
		if d, ok := s.stage(tier, frame, blind); ok {
			return d, true
		}
		blind = 0
	}
	return decision{}, false
}

func (s stages) stage(tier Tier, frame []byte, blind int) (decision, bool) {
	d := decision{tier: tier}
	for i := 0; i < len(s.entries); i++ {
		e := s.entries[i]
		runs := e.early.None()
		if tier == Hardware {
			runs = e.hardware.None()
		}
		if !runs || e.effect.none() || !s.matches(i, frame, blind) {
			continue
		}
		if e.effect.counter {
			d.counted = append(d.counted, e.ref().String())
		}
		switch e.effect.ending {
		case drops:
			d.outcome = eval.Dropped
			return d, true
		case forwards:
			d.outcome = eval.Stolen
			return d, true
		case accepts:
			return d, false
		case leaves:
			i = e.to - 1
		case goesOn, unknown, decides:
		}
	}
	return d, false
}

// reads reports whether a match reads what hardware does not see.
func reads(m ruleset.Match, blind int) bool {
	of := func(e ruleset.Expr) bool {
		switch e := e.(type) {
		case ruleset.Payload:
			return slices.Contains([]string{"tcp", "udp", "th"}, e.Proto) || blind == noProtocol && e.Field == "nexthdr"
		case ruleset.Meta:
			return blind == noProtocol && e.Key == "l4proto"
		}
		return false
	}
	switch e := m.Left.(type) {
	case ruleset.Binary:
		return of(e.Operands[0])
	case ruleset.Concat:
		return slices.ContainsFunc(e, of)
	}
	return of(m.Left)
}

// counted names the rules with a counter that counted the packet, and what was logged.
func counted(res eval.Result) []string {
	var out []string
	for _, s := range res.Steps {
		for i, stmt := range s.Rule.Stmts {
			_, isCounter := stmt.(ruleset.Counter)
			_, isAction := stmt.(ruleset.Action)
			if i < s.Reached && (isCounter || isAction) {
				out = append(out, Ref{Family: s.Rule.Family, Table: s.Rule.Table, Chain: s.Rule.Chain, Handle: s.Rule.Handle}.String())
			}
		}
	}
	return out
}
