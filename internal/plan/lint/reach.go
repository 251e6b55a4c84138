package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// addRule is a rule with `flow add`.
type addRule struct {
	table     *ruleset.Table
	chain     *ruleset.Chain
	rule      *ruleset.Rule
	add       flowAdd
	flowtable *ruleset.Flowtable       // nil where there is none of the name
	taken     set                      // the classes whose flows it may add; nil where none comes
	kept      map[string]*ruleset.Rule // see keptFrom
}

func (c *checker) checkFlowAdds() {
	c.eachRule(func(t *ruleset.Table, ch *ruleset.Chain, r *ruleset.Rule) {
		for _, add := range c.a.facts[r].adds {
			c.adds = append(c.adds, addRule{table: t, chain: ch, rule: r, add: add, flowtable: t.Flowtable(add.flowtable)})
		}
	})
	if len(c.adds) == 0 {
		c.checkNoFlowAdd()
		return
	}
	hooks := c.a.hooks()
	c.arrivals()
	for i := range c.adds {
		c.checkFlowAdd(&c.adds[i], hooks[c.adds[i].chain])
	}
}

// checkNoFlowAdd tells those who forward and offload nothing.
func (c *checker) checkNoFlowAdd() {
	forward := c.a.hooked("forward")
	if len(forward) == 0 || c.lowered() {
		return
	}
	c.say(reason.NoFlowAdd, Note, c.chainPlace(forward[0].chain), "nft-offload enable LAN WAN",
		"the ruleset has a forward chain and no `flow add`: every packet takes the slow path")
}

// loweredComment begins the comment of the set that stands for a flowtable in a ruleset that was loaded without (the
// constant is that of package handover, which a running daemon reads it with).
const loweredComment = "nft-offload lowered flowtable"

// lowered reports whether the ruleset hands flows over in another way than by `flow add`.
func (c *checker) lowered() bool {
	return slices.ContainsFunc(c.rs.Tables, func(t *ruleset.Table) bool {
		return slices.ContainsFunc(t.Sets, func(s *ruleset.Set) bool { return strings.HasPrefix(s.Comment, loweredComment) })
	})
}

// hooks returns by which hooks packets come to each chain.
func (a *analysis) hooks() map[*ruleset.Chain][]string {
	by := map[*ruleset.Chain][]string{}
	for _, t := range a.rs.Tables {
		for _, ch := range t.Chains {
			if ch.Base == nil {
				continue
			}
			for _, to := range a.reachable(base{t, ch}) {
				if !slices.Contains(by[to], ch.Base.Hook) {
					by[to] = append(by[to], ch.Base.Hook)
				}
			}
		}
	}
	return by
}

// arrivals finds out which classes come to each `flow add`.
func (c *checker) arrivals() {
	at := map[*ruleset.Rule][]int{}
	for i, ad := range c.adds {
		at[ad.rule] = append(at[ad.rule], i)
	}
	could := offloadable()
	c.a.walkHook("forward", func(_ *ruleset.Table, _ *ruleset.Chain, r *ruleset.Rule, arrives set) {
		for _, i := range at[r] {
			ad := &c.adds[i]
			if ad.taken == nil {
				ad.taken = c.a.n.empty()
			}
			b := ad.add.may
			b.w &= could
			c.a.n.addPart(ad.taken, arrives, b)
		}
	})
}

// checkFlowAdd says what is wrong with one `flow add`, one thing only where that explains all else.
func (c *checker) checkFlowAdd(ad *addRule, hooks []string) {
	p := c.rulePlace(ad.rule)
	switch {
	case ad.flowtable == nil || !routes(ad.table.Family):
		return // neither loads: the decoder says the one, flowtable-family the other
	case ad.table.Dormant():
		c.say(reason.FlowAddDormant, Warning, p, fmt.Sprintf("table %s %s { }", ad.table.Family, ad.table.Name),
			"table %s %s is dormant: none of its chains sees a packet", ad.table.Family, ad.table.Name)
	case len(hooks) == 0:
		c.say(reason.ChainNotHooked, Warning, p, "jump "+ad.chain.Name,
			"chain %s is on no hook and nothing jumps to it: this rule offloads nothing", ad.chain.Name)
	case len(hooks) > 1 || hooks[0] != "forward":
		c.say(reason.FlowAddNotForward, Error, p, "type filter hook forward priority filter;",
			"packets come to chain %s from hook %s, and `flow add` is for forward only", ad.chain.Name, strings.Join(hooks, " and "))
	default:
		c.checkCoverage(ad, p)
	}
}

// checkCoverage compares what the rule is for with what comes to it.
func (c *checker) checkCoverage(ad *addRule, p Place) {
	own := ad.add.may.w
	want := own & offloadable() & familyWords(ad.table.Family)
	switch {
	case want == 0 && own&^ofProto(otherProto) == 0:
		c.say(reason.FlowAddNeverProtocol, Error, p, "meta l4proto { tcp, udp } ct state established flow add @"+ad.add.flowtable,
			"the rule matches protocols that no flowtable carries")
		return
	case want&established() == 0:
		s, for_ := Error, "packets whose connection is not established yet or never will be"
		if want != 0 {
			s, for_ = Warning, "new connections: no TCP, and of UDP only flows with several packets before the first answer"
		}
		c.say(reason.FlowAddNewOnly, s, p, "ct state established ... flow add @"+ad.add.flowtable, "the rule is for %s", for_)
		return
	}
	var come word
	if ad.taken != nil {
		come = ad.taken.all()
	}
	if come&established() == 0 {
		c.sayNotReached(ad, p, want, come)
		return
	}
	c.checkPartly(ad, p, want, come)
	c.checkUnstated(p, own)
	c.checkOtherDevices(ad, p)
}

// sayNotReached reports a rule that no established packet comes to.
func (c *checker) sayNotReached(ad *addRule, p Place, want, come word) {
	by := c.decider(ad, want&established()&^come)
	r, s, rest := reason.FlowAddNotReached, Error, "offloads nothing, ever"
	if come != 0 {
		r, s, rest = reason.FlowAddPartlyReached, Warning, "offloads UDP flows only, while they have several packets before the first answer"
	}
	if by == nil {
		c.say(r, s, p, "", "no packet of an established flow comes to chain %s that this rule matches: it %s", ad.chain.Name, rest)
		return
	}
	c.say(r, s, p, inOrder(ad.rule, by), "%s decides first for all packets of established flows: this rule %s", c.naming(by, ad.rule), rest)
}

// checkPartly reports protocols and families that the rule is for and that never come to it.
func (c *checker) checkPartly(ad *addRule, p Place, want, come word) {
	named := ad.add.may.w&ofProto(otherProto) == 0 // it says which protocols
	for _, pr := range protosOf(want & established()) {
		mine := established() & ofProto(pr)
		if come&mine != 0 || pr == gre && !named {
			continue
		}
		s := Warning
		if some := come & established() & (ofProto(tcp) | ofProto(udp)); !named && some != 0 {
			s = Note // perhaps it is meant so
		}
		by := c.decider(ad, want&mine)
		if by == nil {
			continue
		}
		c.say(reason.FlowAddPartlyReached, s, p, inOrder(ad.rule, by),
			"%s decides first for %s: this rule offloads none of it", c.naming(by, ad.rule), pr)
	}
	for f, name := range []string{"IPv4", "IPv6"} {
		mine := established() & ofFamily(f) & want
		if mine == 0 || come&mine != 0 {
			continue
		}
		if by := c.decider(ad, mine); by != nil {
			c.say(reason.FlowAddPartlyReached, Note, p, inOrder(ad.rule, by),
				"%s decides first for %s: this rule offloads none of it", c.naming(by, ad.rule), name)
		}
	}
}

// checkUnstated says what a rule covers that names no state or no protocol.
func (c *checker) checkUnstated(p Place, own word) {
	if own&ofStates(stateNew)&ofProto(tcp) != 0 {
		c.say(reason.FlowAddAnyState, Note, p, "ct state established before flow add",
			"the rule names no conntrack state: it is tried for each packet, and takes UDP flows before there is an answer")
	}
	if own&ofProto(otherProto) != 0 {
		c.say(reason.FlowAddAnyProtocol, Note, p, "meta l4proto { tcp, udp } before flow add",
			"the rule names no protocol: it covers TCP, UDP, and GRE without NAT")
	}
}

// checkOtherDevices reports a rule for devices that the flowtable does not look up.
func (c *checker) checkOtherDevices(ad *addRule, p Place) {
	if len(c.m.Devices) == 0 {
		return
	}
	var missing []string
	for i, name := range c.a.devices.names {
		in, out := ad.add.may.in>>i&1 != 0, ad.add.may.out>>i&1 != 0
		named := in && ad.add.may.in>>c.a.devices.others()&1 == 0 || out && ad.add.may.out>>c.a.devices.others()&1 == 0
		d, known := c.devices[name]
		if named && known && !c.lookedUp(d.Name, ad.flowtable) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		c.say(reason.FlowAddOtherDevices, Warning, p, "devices = { "+strings.Join(append(slices.Clone(ad.flowtable.Devices), missing...), ", ")+" };",
			"packets that come in by %s are not looked up in flowtable %s, which does not list it", strings.Join(missing, ", "), ad.flowtable.Name)
	}
}

// decider finds the rule that decides for a class that a `flow add` misses; nil where there is none.
func (c *checker) decider(ad *addRule, missing word) *ruleset.Rule {
	if missing == 0 {
		return nil
	}
	bit := word(1) << firstBit(missing)
	pair := -1
	c.a.n.each(ad.add.may, func(i int) {
		if pair < 0 || i == 1 { // from the flowtable's first device to its second
			pair = i
		}
	})
	if pair < 0 {
		return nil
	}
	var by *ruleset.Rule
	c.a.walkHook("forward", func(_ *ruleset.Table, _ *ruleset.Chain, r *ruleset.Rule, arrives set) {
		below := r.Chain == ad.rule.Chain && c.order[r] >= c.order[ad.rule]
		if by != nil || below || arrives[pair]&bit == 0 {
			return
		}
		for _, o := range c.a.facts[r].outcomes {
			if o.must.w&bit != 0 && c.a.n.meets(c.a.n.only(pair), o.must) && endsFor(o, r, ad) {
				by = r
			}
		}
	})
	return by
}

// endsFor reports whether a verdict of a rule keeps packets from a `flow add`: accept ends its base chain only, return
// and goto their chain.
func endsFor(o outcome, r *ruleset.Rule, ad *addRule) bool {
	sameTable := r.Table == ad.rule.Table && r.Family == ad.rule.Family
	switch o.kind {
	case ruleset.Drop:
		return true
	case ruleset.Accept:
		return sameTable
	case ruleset.Return, ruleset.Goto:
		return sameTable && r.Chain == ad.rule.Chain
	default:
		return false
	}
}

// only is the set of all classes of one device pair.
func (n space) only(pair int) set {
	s := n.empty()
	s[pair] = allWords
	return s
}

// naming names a rule for those who look at another one of the same ruleset.
func (c *checker) naming(r, beside *ruleset.Rule) string {
	text, n := ruleText(r), numbered(r.Handle, r.Index+1)
	switch {
	case r.Chain == beside.Chain && r.Table == beside.Table && r.Family == beside.Family:
		return fmt.Sprintf("`%s` (%s), above it,", text, n)
	case r.Table == beside.Table && r.Family == beside.Family:
		return fmt.Sprintf("`%s` (chain %s %s)", text, r.Chain, n)
	}
	return fmt.Sprintf("`%s` (%s %s %s %s)", text, r.Family, r.Table, r.Chain, n)
}

// inOrder says in which order two rules should be.
func inOrder(first, second *ruleset.Rule) string {
	return fmt.Sprintf("`%s` above `%s`", ruleText(first), ruleText(second))
}
