package plan

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// manyActions is a rule that copies to one device more often than the kernel's rules have room for.
func manyActions() *ruleset.Ruleset {
	rs := large(1)
	r := rs.Tables[0].Chains[0].Rules[0]
	r.Stmts = nil
	for range mostActions {
		r.Stmts = append(r.Stmts, ruleset.Dup{Dev: ruleset.Str("eth0")})
	}
	r.Stmts = append(r.Stmts, ruleset.Verdict{Kind: ruleset.Drop})
	return rs
}

func TestRuleOfManyActionsIsTooMuchForTheKernel(t *testing.T) {
	p := Make(manyActions(), nic(t), Options{})
	if f := p.Chains[0].Rules[0].Kernel; f == nil || f.Reason != reason.TooManyActions {
		t.Errorf("kernel's answer: %v", f)
	}
}

func TestPreferencesAreUsedUp(t *testing.T) {
	var p prefs
	f := []filter{{protocol: "ip", action: "action drop"}}
	for i := PrefFirst; i <= PrefLast; i++ {
		ns, ok := p.give(f, space.Everything())
		if !ok || ns[0].pref != i || ns[0].handle != 1 {
			t.Fatalf("filter %d: %v, %v", i, ns, ok)
		}
	}
	if _, ok := p.give(f, space.Everything()); ok {
		t.Error("there is one more")
	}
	if noPrefs().Reason != reason.HardwareTableFull {
		t.Error(noPrefs())
	}
}

func TestJumpsThatMultiplyAreBounded(t *testing.T) {
	rs := large(1)
	table := rs.Tables[0]
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for i, name := range slices.Backward(names) {
		c := &ruleset.Chain{Family: table.Family, Table: table.Name, Name: name}
		for n := range 16 {
			v := ruleset.Verdict{Kind: ruleset.Drop}
			if i < len(names)-1 {
				v = ruleset.Verdict{Kind: ruleset.Jump, Target: names[i+1]}
			}
			c.Rules = append(c.Rules, &ruleset.Rule{Family: table.Family, Table: table.Name, Chain: name, Index: n, Stmts: []ruleset.Stmt{v}})
		}
		table.Chains = append(table.Chains, c)
	}
	base := table.Chains[0]
	base.Rules[0].Stmts = []ruleset.Stmt{ruleset.Verdict{Kind: ruleset.Jump, Target: "a"}}
	p := Make(rs, nic(t), Options{})
	if n := len(p.judged[0].entries); n > 2*roomForCopies {
		t.Errorf("%d entries", n)
	}
	found := false
	for _, e := range p.judged[0].entries {
		found = found || e.early.Reason == reason.ExpansionTooLarge
	}
	if !found {
		t.Error("no jump is too much")
	}
}

func TestJumpInACircleEnds(t *testing.T) {
	rs := large(1)
	c := rs.Tables[0].Chains[0]
	c.Rules[0].Stmts = []ruleset.Stmt{ruleset.Verdict{Kind: ruleset.Jump, Target: c.Name}}
	if p := Make(rs, nic(t), Options{}); p.Chains[0].Rules[0].Tier() != Software {
		t.Error(p.Text())
	}
}
