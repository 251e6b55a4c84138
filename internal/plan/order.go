package plan

import "github.com/nft-offload/nft-offload/internal/ruleset"

// Chains of one priority are executed in an order that no listing shows: the one that was registered last comes first
// (net/netfilter/core.c nf_hook_entries_grow), and chains are registered anew when tables wake up or devices come. So an
// entry of one may run early only if it does not matter which comes first.

// unordered gives entries the reason why the order of their chains matters, where they have no order.
func unordered(entries []*entry) {
	bases := map[*ruleset.Chain]bool{}
	for _, e := range entries {
		if e.base != nil {
			bases[e.base] = true
		}
	}
	for base := range bases {
		var others index
		found := false
		for _, e := range entries {
			if e.base != nil && e.base != base && e.base.Base.Priority == base.Base.Priority && e.effect.reaches() && !e.space.Empty() {
				others.add(e)
				found = true
			}
		}
		if !found {
			continue
		}
		for _, e := range entries {
			if e.base == base {
				e.disorder = blocked(&others, e)
			}
		}
	}
}
