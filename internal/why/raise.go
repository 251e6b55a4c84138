package why

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Raise turns a ruleset that was lowered for a kernel without flowtables back into what it was written as, so that plan
// and lint see its flowtables and `flow add`. Rules keep their handles. What is not lowered stays as it is, and the
// ruleset that is given is not changed.
func Raise(rs *ruleset.Ruleset, flowtables []engine.Flowtable) *ruleset.Ruleset {
	out := *rs
	out.Tables = nil
	for _, t := range rs.Tables {
		r := raiser{table: t, flowtables: map[string]*engine.Flowtable{}}
		for i, f := range flowtables {
			if f.Lowered && f.Family == string(t.Family) && f.Table == t.Name {
				r.flowtables[f.Name] = &flowtables[i]
			}
		}
		if len(r.flowtables) > 0 {
			t = r.raise()
		}
		out.Tables = append(out.Tables, t)
	}
	return &out
}

// raiser raises one table.
type raiser struct {
	table      *ruleset.Table
	flowtables map[string]*engine.Flowtable
}

func (r raiser) raise() *ruleset.Table {
	t := *r.table
	t.Sets, t.Chains, t.Flowtables = nil, nil, slices.Clone(t.Flowtables)
	for _, s := range r.table.Sets {
		f := r.flowtables[s.Name]
		if f == nil {
			t.Sets = append(t.Sets, s)
			continue
		}
		t.Flowtables = append(t.Flowtables, &ruleset.Flowtable{
			Family: t.Family, Table: t.Name, Name: s.Name, Handle: s.Handle, Hook: "ingress", Devices: f.Devices,
		})
	}
	for _, c := range r.table.Chains {
		if !ours(c.Name) {
			t.Chains = append(t.Chains, r.chain(c))
		}
	}
	return &t
}

// ours reports whether lowering made a chain.
func ours(chain string) bool {
	return chain == handover.PassChain || strings.HasPrefix(chain, handover.AddChain)
}

// chain puts `flow add` in the place of each pair of rules that stands for one: the first names the flowtable.
func (r raiser) chain(c *ruleset.Chain) *ruleset.Chain {
	out := *c
	out.Rules = nil
	flowtable := ""
	for _, rule := range c.Rules {
		if name, ok := r.passes(rule); ok {
			flowtable = name
			continue
		}
		raised := *rule
		if flowtable != "" && lowered(rule) {
			raised.Stmts = r.stmts(rule.Stmts, flowtable)
			flowtable = ""
		}
		raised.Index = len(out.Rules)
		out.Rules = append(out.Rules, &raised)
	}
	return &out
}

// passes reports whether a rule passes flows that a flowtable has taken, and whose.
func (r raiser) passes(rule *ruleset.Rule) (flowtable string, ok bool) {
	jumps := false
	for _, s := range rule.Stmts {
		switch s := s.(type) {
		case ruleset.Verdict:
			jumps = jumps || s.Target == handover.PassChain
		case ruleset.Match:
			if ref, isRef := s.Right.(ruleset.SetRef); isRef && r.flowtables[string(ref)] != nil {
				flowtable = string(ref)
			}
		}
	}
	return flowtable, jumps && flowtable != ""
}

// stmts puts `flow add` and what was behind it in the place of the jump.
func (r raiser) stmts(stmts []ruleset.Stmt, flowtable string) []ruleset.Stmt {
	var out []ruleset.Stmt
	for _, s := range stmts {
		v, ok := s.(ruleset.Verdict)
		if !ok || !strings.HasPrefix(v.Target, handover.AddChain) {
			out = append(out, s)
			continue
		}
		out = append(out, ruleset.FlowAdd{Op: "add", Flowtable: flowtable})
		if c := r.table.Chain(v.Target); c != nil && len(c.Rules) > 0 {
			// The last rule sets the label, makes sure of it, and goes on with the rest.
			const own = 2
			last := c.Rules[len(c.Rules)-1].Stmts
			out = append(out, last[min(own, len(last)):]...)
		}
	}
	return out
}
