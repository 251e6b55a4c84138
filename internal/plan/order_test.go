package plan

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestChainsOfOnePriorityRunEarlyOnlyWhereTheirOrderDoesNotMatter: a counting rule and a rule that drops the same.
func TestChainsOfOnePriorityRunEarlyOnlyWhereTheirOrderDoesNotMatter(t *testing.T) {
	chain := func(name string, priority int, stmts ...ruleset.Stmt) *ruleset.Chain {
		return &ruleset.Chain{
			Family: ruleset.Netdev, Table: "t", Name: name,
			Base:  &ruleset.Base{Type: "filter", Hook: "ingress", Priority: priority, Devices: []string{"eth0"}},
			Rules: []*ruleset.Rule{{Family: ruleset.Netdev, Table: "t", Chain: name, Stmts: stmts}},
		}
	}
	port := ruleset.Match{Op: "==", Left: ruleset.Payload{Proto: "tcp", Field: "dport"}, Right: ruleset.Num(22)}
	drop := ruleset.Verdict{Kind: ruleset.Drop}
	for _, c := range []struct {
		what     string
		priority int
		second   []ruleset.Stmt
		want     reason.Reason
	}{
		{"another priority", 1, []ruleset.Stmt{port, ruleset.Counter{}, drop}, reason.None},
		{"the same priority", 0, []ruleset.Stmt{port, ruleset.Counter{}, drop}, reason.EarlierChain},
		{"the same priority and verdict, and nobody counts", 0, []ruleset.Stmt{port, drop}, reason.None},
	} {
		rs := &ruleset.Ruleset{Tables: []*ruleset.Table{{
			Family: ruleset.Netdev, Name: "t", Chains: []*ruleset.Chain{chain("a", 0, port, drop), chain("b", c.priority, c.second...)},
		}}}
		p := Make(rs, nic(t), Options{NoHardware: true})
		for _, e := range p.judged[0].entries {
			if e.early.Reason != c.want {
				t.Errorf("%s: %s: %v", c.what, e.ref(), e.early)
			}
		}
	}
}
