package lint

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// checkPaths looks for what goes badly together with flowtables, wherever it is in the ruleset.
func (c *checker) checkPaths() {
	if !c.offloads() {
		return
	}
	said := map[reason.Reason]int{}
	c.eachRule(func(_ *ruleset.Table, ch *ruleset.Chain, r *ruleset.Rule) {
		for _, s := range r.Stmts {
			c.checkStatement(ch, r, s, said)
		}
	})
	for _, t := range c.rs.Tables {
		c.checkOtherFamilies(t)
	}
	c.checkQdiscs()
}

// offloads reports whether there is a flowtable that rules add flows to.
func (c *checker) offloads() bool {
	return slices.ContainsFunc(c.adds, func(ad addRule) bool { return ad.flowtable != nil })
}

// checkStatement reports one rule for each reason: one is enough to know.
func (c *checker) checkStatement(ch *ruleset.Chain, r *ruleset.Rule, s ruleset.Stmt, said map[reason.Reason]int) {
	why, detail := special(ch, s)
	if why == reason.None {
		return
	}
	said[why]++
	if said[why] == 1 {
		c.say(why, Note, c.rulePlace(r), why.Info().Remedy, "%s", detail)
	}
}

// special recognizes statements that keep flows off flowtables, or that flows in one escape.
func special(ch *ruleset.Chain, s ruleset.Stmt) (reason.Reason, string) {
	switch s := s.(type) {
	case ruleset.SetObject:
		if s.Kind == "ct helper" {
			return reason.HelperFlows, "flows that this rule gives a helper are not offloaded"
		}
	case ruleset.Action:
		if s.Kind == "notrack" {
			return reason.NotrackRule, "packets that this rule leaves untracked are not offloaded"
		}
	case ruleset.Mangle:
		if k, ok := s.Key.(ruleset.CT); ok && k.Key == "zone" {
			return reason.ConntrackZones, "flows in a conntrack zone are carried by the kernel's flowtable without it, and stay slow with nft-offload"
		}
		if k, ok := s.Key.(ruleset.Meta); ok && k.Key == "mark" && marksRoute(ch, s) {
			return reason.PolicyRouting, "this mark may choose a route: offloaded flows keep the route that they had when they were added"
		}
	case ruleset.Match:
		if f, ok := s.Left.(ruleset.FIB); ok && reversePath(f, s) {
			return reason.ReversePathFilter, "a reverse path filter: flows that come and go by different devices are neither passed nor offloaded, and offloaded ones are not checked again"
		}
	}
	return reason.None, ""
}

// marksRoute reports whether a mark is set before the packet is routed, or comes from conntrack.
func marksRoute(ch *ruleset.Chain, s ruleset.Mangle) bool {
	if ch.Base != nil && (ch.Base.Hook == "prerouting" || ch.Base.Type == "route") {
		return true
	}
	k, ok := s.Value.(ruleset.CT)
	return ok && k.Key == "mark"
}

// reversePath recognizes `fib saddr . iif oif missing` and `fib saddr . iif check missing`.
func reversePath(f ruleset.FIB, m ruleset.Match) bool {
	if !slices.Contains(f.Flags, "saddr") || !slices.Contains(f.Flags, "iif") {
		return false
	}
	return f.Result != "type" && (m.Right == ruleset.Expr(ruleset.Bool(false)) || m.Right == ruleset.Expr(ruleset.Num(0)) || m.Op != "==")
}

// checkOtherFamilies looks at chains of families bridge and netdev, and at ingress chains of inet.
func (c *checker) checkOtherFamilies(t *ruleset.Table) {
	if t.Dormant() {
		return
	}
	for _, ch := range t.Chains {
		if ch.Base == nil || len(ch.Rules) == 0 && ch.Base.Policy != "drop" {
			continue
		}
		switch {
		case t.Family == ruleset.Bridge:
			c.checkBridge(ch)
		case ch.Base.Hook == "ingress":
			c.checkIngress(ch)
		}
	}
}

// checkBridge reports chains that see frames of bridges on which flows are looked up.
func (c *checker) checkBridge(ch *ruleset.Chain) {
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			for _, name := range f.Devices {
				d := c.devices[name]
				if c.devices[d.Master].Kind != "bridge" {
					continue
				}
				c.say(reason.BridgeFamilyRules, Warning, c.chainPlace(ch), "the rules in the forward hook of table inet, before `flow add`",
					"%s is a port of bridge %s and in flowtable %s: packets of offloaded flows do not pass this chain", name, d.Master, f.Name)
				return
			}
		}
	}
}

// checkIngress reports ingress chains that come after a flowtable on one of its devices.
func (c *checker) checkIngress(ch *ruleset.Chain) {
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			i := slices.IndexFunc(f.Devices, func(d string) bool { return slices.Contains(ch.Base.Devices, d) })
			if i < 0 || ch.Base.Priority <= f.Priority {
				continue
			}
			c.say(reason.NetdevRulesSkipped, Warning, c.chainPlace(ch), "priority lower than that of the flowtable",
				"flowtable %s comes first on %s (priority %d before %d): packets of offloaded flows do not pass this chain",
				f.Name, f.Devices[i], f.Priority, ch.Base.Priority)
			return
		}
	}
}

// checkQdiscs reports shapers on devices that flows in software leave by.
func (c *checker) checkQdiscs() {
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			if slices.Contains(f.Flags, "offload") {
				continue // said already, and graver
			}
			var shaped []string
			for _, name := range f.Devices {
				if q := c.devices[name].Qdisc; q.Shaper != "" {
					shaped = append(shaped, name+" ("+q.Shaper+")")
				}
			}
			if len(shaped) > 0 {
				c.say(reason.QdiscSkipped, Note, c.flowtablePlace(f), "no `flags offload` here; classify by tc filters or by what conntrack keeps (tc action ctinfo)",
					"flows still pass the qdisc of %s, but marks and priorities that rules set are missing from offloaded packets", strings.Join(shaped, ", "))
			}
		}
	}
}
