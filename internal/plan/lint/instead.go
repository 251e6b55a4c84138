package lint

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// insteadOf writes what to do about a rule that offloaded packets skip.
func (c *checker) insteadOf(h hit) string {
	switch h.why {
	case reason.LimitSkipped, reason.QuotaSkipped, reason.QueueSkipped, reason.MangleSkipped, reason.OtherStatementSkipped:
		return c.exclude(h.rule)
	case reason.FlowAddBeforeDrop:
		if ad := c.addAbove(h.rule); ad != nil {
			return inOrder(h.rule, ad.rule)
		}
	case reason.AccountingLost:
		return "counter in the flowtable, and sysctl net.netfilter.nf_conntrack_acct=1"
	default:
	}
	return h.why.Info().Remedy
}

// exclude writes a chain that keeps the rule's flows from `flow add`.
func (c *checker) exclude(r *ruleset.Rule) string {
	matches := matchText(r)
	if matches == "" {
		return "no flow add for these packets: the rule matches all of them"
	}
	for i := range c.adds {
		if c.adds[i].taken != nil {
			return fmt.Sprintf("`chain fast { %s return; %s; }`, `jump fast` in place of that rule, and the same for replies", matches, ruleText(c.adds[i].rule))
		}
	}
	return ""
}

// excluded reports whether each `flow add` has, before it in its chain, another rule that keeps the rule's packets from
// it: one that matches on the same, word for word.
func (c *checker) excluded(r *ruleset.Rule) bool {
	found := false
	for i := range c.adds {
		ad := &c.adds[i]
		if ad.taken == nil {
			continue
		}
		if by := c.keptFrom(ad)[matchText(r)]; by == nil || by == r {
			return false
		}
		found = true
	}
	return found
}

// keptFrom returns the rules that come before a `flow add` in its chain and do nothing but decide, by what they match on.
func (c *checker) keptFrom(ad *addRule) map[string]*ruleset.Rule {
	if ad.kept != nil {
		return ad.kept
	}
	ad.kept = map[string]*ruleset.Rule{}
	for _, r := range ad.chain.Rules {
		if r == ad.rule {
			break
		}
		f := c.a.facts[r]
		if m := matchText(r); len(f.outcomes) == 1 && len(f.effects) == 0 && m != "" && ad.kept[m] == nil {
			ad.kept[m] = r
		}
	}
	return ad.kept
}

// addAbove returns the `flow add` rule that comes before a rule.
func (c *checker) addAbove(r *ruleset.Rule) *addRule {
	for i := range c.adds {
		if ad := &c.adds[i]; ad.taken != nil && ad.rule.Table == r.Table && ad.rule.Family == r.Family {
			return ad
		}
	}
	return nil
}
