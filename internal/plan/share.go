package plan

import "github.com/nft-offload/nft-offload/internal/ruleset"

// share is what runs early on some devices: the entries of their ingress chains in the order of execution.
type share struct {
	devices []string
	on      ability
	entries []*entry
	rules   map[*ruleset.Rule]*ruleset.Table
}

func newShare(g *group, on ability, entries []*entry) *share {
	s := &share{devices: g.devices, on: on, entries: entries, rules: map[*ruleset.Rule]*ruleset.Table{}}
	for _, h := range g.chains {
		for _, c := range h.table.Chains {
			for _, r := range c.Rules {
				s.rules[r] = h.table
			}
		}
	}
	return s
}

// text is a rule in nft's own syntax.
func (s *share) text(r *ruleset.Rule) string { return text(s.rules[r], r) }
