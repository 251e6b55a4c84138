package lint

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Check returns what there is to say about a ruleset on a machine. Devices, options and a kernel version that m does not
// know lead to no finding; caps.Machine{} is a machine of which nothing is known.
func Check(rs *ruleset.Ruleset, m caps.Machine) []Finding {
	c := &checker{a: analyze(rs), rs: rs, m: m, order: orderOf(rs)}
	for _, d := range m.Devices {
		c.know(d)
	}
	c.checkFlowAdds()
	c.checkSkipped()
	c.checkFlowtables()
	c.checkFlows()
	c.checkPaths()
	c.checkOffloadChains()
	c.checkMachine()
	sortFindings(c.out)
	return c.out
}

// checker collects findings.
type checker struct {
	a       *analysis
	rs      *ruleset.Ruleset
	m       caps.Machine
	devices map[string]caps.Device
	order   map[any]int
	adds    []addRule // all `flow add` rules
	out     []Finding
}

func (c *checker) know(d caps.Device) {
	if c.devices == nil {
		c.devices = map[string]caps.Device{}
	}
	c.devices[d.Name] = d
}

// orderOf numbers everything in the order of the listing.
func orderOf(rs *ruleset.Ruleset) map[any]int {
	order := map[any]int{}
	for _, t := range rs.Tables {
		order[t] = len(order) + 1
		for _, f := range t.Flowtables {
			order[f] = len(order) + 1
		}
		for _, o := range t.Objects {
			order[o] = len(order) + 1
		}
		for _, ch := range t.Chains {
			order[ch] = len(order) + 1
			for _, r := range ch.Rules {
				order[r] = len(order) + 1
			}
		}
	}
	return order
}

func (c *checker) rulePlace(r *ruleset.Rule) Place {
	return Place{
		Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Number: r.Index + 1, Rule: ruleText(r), order: c.order[r],
	}
}

func (c *checker) chainPlace(ch *ruleset.Chain) Place {
	return Place{Family: ch.Family, Table: ch.Table, Chain: ch.Name, order: c.order[ch]}
}

func (c *checker) flowtablePlace(f *ruleset.Flowtable) Place {
	return Place{Family: f.Family, Table: f.Table, Flowtable: f.Name, order: c.order[f]}
}

// say adds a finding.
func (c *checker) say(r reason.Reason, s Severity, p Place, instead, detail string, args ...any) {
	c.out = append(c.out, Finding{Reason: r, Severity: s, Place: p, Detail: fmt.Sprintf(detail, args...), Instead: instead})
}

// eachRule calls f for every rule.
func (c *checker) eachRule(f func(t *ruleset.Table, ch *ruleset.Chain, r *ruleset.Rule)) {
	for _, t := range c.rs.Tables {
		for _, ch := range t.Chains {
			for _, r := range ch.Rules {
				f(t, ch, r)
			}
		}
	}
}
