package engine

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Foresee says for every device what would be decided about it if a flowtable listed it and no other: what `run` would
// do there beside the chains that the ruleset has. Flowtables of the ruleset do not count. The decisions are in the order
// of the links. It is a pure function.
func Foresee(v View) []Decision {
	out := make([]Decision, 0, len(v.Links))
	rules := v.Ruleset
	stack := newStack(v.Links)
	for _, l := range v.Links {
		rules.Flowtables = []handover.Flowtable{{
			Family: "inet", Table: "foreseen", Name: "f", Devices: []string{l.Name}, Hook: "ingress", Lowered: true,
		}}
		p := &plan{
			stack: stack, rules: rules, choices: Choices{}, failed: map[uint32]failure{},
			listed: map[string]*Decision{}, withheld: map[*Link]Reason{}, hung: map[hung]Reason{},
		}
		p.list()
		for p.resolve(); p.withhold(); {
			p.resolve()
		}
		d := *p.listed[l.Name]
		d.On = slices.Clone(d.On)
		out = append(out, d)
	}
	return out
}
