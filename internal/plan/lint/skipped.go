package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// hit is a rule that packets of offloaded flows do not meet any more, though they did before they were offloaded.
type hit struct {
	why      reason.Reason
	severity Severity
	rule     *ruleset.Rule
	what     string
}

// checkSkipped looks for rules of the hooks that offloaded packets skip.
func (c *checker) checkSkipped() {
	fast := c.fastClasses()
	if fast == nil {
		return
	}
	var hits []hit
	for _, hook := range []string{"prerouting", "forward", "postrouting"} {
		c.a.walkHook(hook, func(t *ruleset.Table, ch *ruleset.Chain, r *ruleset.Rule, arrives set) {
			v := visit{c: c, fast: fast, table: t, chain: ch, rule: r, arrives: arrives, forward: hook == "forward"}
			hits = append(hits, v.hits()...)
		})
	}
	c.sayHits(unique(hits))
}

// fastClasses are the classes whose packets may be in a flowtable: every established packet of a protocol, family and
// pair of devices of which `flow add` takes some, as far as it comes in by a device that a flowtable lists.
func (c *checker) fastClasses() set {
	n := c.a.n
	taken := n.empty()
	for _, ad := range c.adds {
		if ad.taken != nil && ad.flowtable != nil {
			taken.add(ad.taken)
		}
	}
	if taken.all() == 0 {
		return nil
	}
	taken.add(n.reversed(taken))
	listed := c.lookedUpNumbers()
	for in := range int(n) {
		for out := range int(n) {
			i := in*int(n) + out
			if listed>>in&1 == 0 {
				taken[i] = 0
				continue
			}
			taken[i] = allStates(taken[i])
		}
	}
	return taken
}

// allStates widens a word to all established packets of its protocols and families.
func allStates(w word) word {
	var out word
	for f := range familyCount {
		for p := range protoCount {
			if w&ofFamily(f)&ofProto(p) != 0 {
				out |= established() & ofFamily(f) & ofProto(p)
			}
		}
	}
	return out
}

// lookedUpNumbers are the numbers of the devices whose packets are looked up in some flowtable.
func (c *checker) lookedUpNumbers() devset {
	var out devset
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			for i, name := range c.a.devices.names {
				if c.lookedUp(name, f) {
					out |= 1 << i
				}
			}
			if slices.ContainsFunc(f.Devices, func(d string) bool { _, ok := c.a.devices.index[d]; return !ok }) {
				out |= 1 << c.a.devices.others()
			}
		}
	}
	return out
}

// lookedUp reports whether packets that come in by a device are looked up in a flowtable: it, or one that it stands on,
// is listed. Of a device that the machine does not know its name has to say that it stands on others.
func (c *checker) lookedUp(device string, f *ruleset.Flowtable) bool {
	if slices.Contains(f.Devices, device) {
		return true
	}
	if _, known := c.devices[device]; known {
		return slices.ContainsFunc(c.lowest(device), func(d string) bool { return slices.Contains(f.Devices, d) })
	}
	for _, d := range f.Devices {
		if strings.HasPrefix(device, d+".") || isWildcard(d) && strings.HasPrefix(device, strings.TrimSuffix(d, "*")) {
			return true
		}
	}
	return slices.ContainsFunc([]string{"br", "ppp", "vlan", "bond"}, func(p string) bool { return strings.HasPrefix(device, p) })
}

// lowest returns the devices where a device's packets are looked up: the kernel follows bridges, VLANs and PPPoE down.
func (c *checker) lowest(device string) []string {
	var out []string
	seen := map[string]bool{device: true}
	for queue := []string{device}; len(queue) > 0; queue = queue[1:] {
		d := c.devices[queue[0]]
		if len(d.Lower) == 0 || !contract.Followed(d) {
			out = append(out, queue[0])
			continue
		}
		for _, l := range d.Lower {
			if !seen[l] {
				seen[l] = true
				queue = append(queue, l)
			}
		}
	}
	return out
}

// visit is one rule with what comes to it.
type visit struct {
	c       *checker
	fast    set
	table   *ruleset.Table
	chain   *ruleset.Chain
	rule    *ruleset.Rule
	arrives set
	forward bool
}

// skips reports whether packets of fast flows are among those that arrive in the box.
func (v visit) skips(b box) bool {
	var w word
	v.c.a.n.each(b, func(i int) { w |= v.arrives[i] & v.fast[i] & b.w })
	return w != 0
}

// firstToo reports whether first packets of connections of the box arrive as well: what the rule does, it does for the
// whole connection.
func (v visit) firstToo(b box) bool {
	b.w &= ofStates(stateNew)
	return v.c.a.n.meets(v.arrives, b)
}

func (v visit) hits() []hit {
	f := v.c.a.facts[v.rule]
	if f.slow || v.keepsFromFlowAdd(f) || v.c.excluded(v.rule) {
		return nil
	}
	dropped, out := v.drops(f)
	for _, e := range f.effects {
		if !v.skips(e.may) || dropped && !choosesDrops(e) {
			continue
		}
		if h, ok := v.judge(f, e); ok {
			out = append(out, h)
		}
	}
	return out
}

// choosesDrops reports whether a statement chooses which packets a drop is for.
func choosesDrops(e effect) bool {
	switch e.why {
	case reason.LimitSkipped, reason.QuotaSkipped, reason.ConnlimitSkipped, reason.TimedRuleSkipped, reason.AccountingLost:
		return true
	default:
		return false
	}
}

// saysItAll reports whether the finding about a statement is also about what the rule drops.
func saysItAll(e effect) bool {
	return choosesDrops(e) || e.why == reason.QueueSkipped || e.why == reason.OtherStatementSkipped
}

// keepsFromFlowAdd reports whether the rule decides for both directions of its flows before any `flow add` of its chain
// and there is no other: these flows are not offloaded.
func (v visit) keepsFromFlowAdd(f facts) bool {
	if !v.forward || !f.symmetric || len(f.outcomes) != 1 || f.outcomes[0].kind != ruleset.Accept && f.outcomes[0].kind != ruleset.Drop {
		return false
	}
	for _, ad := range v.c.adds {
		if ad.taken != nil && (ad.chain != v.chain || v.c.order[ad.rule] <= v.c.order[v.rule]) {
			return false
		}
	}
	return true
}

// drops judges what the rule drops. It reports whether the rule does nothing else.
func (v visit) drops(f facts) (only bool, out []hit) {
	only = len(f.outcomes) > 0
	for _, o := range f.outcomes {
		if o.kind != ruleset.Drop {
			only = false
			continue
		}
		if !v.skips(o.may) || slices.ContainsFunc(f.effects, saysItAll) {
			continue
		}
		switch {
		case f.changing:
			out = append(out, hit{reason.DropSkipped, Warning, v.rule, "drop"})
		case v.firstToo(o.may): // such a flow never began
		case v.behindFlowAdd():
			out = append(out, hit{reason.FlowAddBeforeDrop, Warning, v.rule, "drop"})
		default:
			out = append(out, hit{reason.DropSkipped, Warning, v.rule, "drop"})
		}
	}
	return only, out
}

// behindFlowAdd reports whether packets come to the rule after they met a `flow add`.
func (v visit) behindFlowAdd() bool {
	return v.forward && !slices.ContainsFunc(v.c.adds, func(ad addRule) bool {
		return ad.chain == v.chain && v.c.order[ad.rule] > v.c.order[v.rule]
	})
}

// judge says how much it matters that fast packets miss a statement.
func (v visit) judge(f facts, e effect) (hit, bool) {
	h := hit{e.why, Warning, v.rule, e.what}
	switch e.why {
	case reason.CounterSkipped, reason.LogSkipped, reason.LimitSkipped:
		h.severity = Note
		if e.why == reason.LimitSkipped {
			h.severity = Warning
		}
		return h, len(f.adds) == 0 // there they count and limit what is added
	case reason.ConnlimitSkipped:
		h.severity = Note
	case reason.MangleSkipped:
		if strings.HasPrefix(e.what, "ct ") && v.firstToo(e.may) {
			return hit{}, false // conntrack keeps what the first packet set
		}
		if e.what == "meta mark set" {
			h.severity = Note // it is read in the machine only; policy-routing says more
		}
	case reason.SetUpdateSkipped:
		if !v.expires(e.what) {
			h.severity = Note
		}
	case reason.OtherStatementSkipped:
		if e.what != "dup" && e.what != "fwd" {
			h.severity = Note
		}
	case reason.AccountingLost:
		return h, !v.counted()
	default:
	}
	return h, true
}

// expires reports whether elements of the set that a statement ("update @s") changes time out.
func (v visit) expires(what string) bool {
	_, name, _ := strings.Cut(what, "@")
	s := v.c.a.sets[setKey{v.table, name}]
	return s != nil && (s.Timeout != 0 || slices.Contains(s.Flags, "timeout"))
}

// counted reports whether all flowtables in use count for conntrack, as far as the listing says.
func (v visit) counted() bool {
	return !slices.ContainsFunc(v.c.adds, func(ad addRule) bool {
		return ad.flowtable != nil && !slices.Contains(ad.flowtable.Flags, "counter")
	})
}

// unique takes out what is said of a rule twice, because it has two such statements or is met at two hooks.
func unique(hits []hit) []hit {
	type key struct {
		why  reason.Reason
		rule *ruleset.Rule
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(hits, func(h hit) bool {
		k := key{h.why, h.rule}
		dup := seen[k]
		seen[k] = true
		return dup
	})
}

// manyHits is up to how many rules of a table each have their own finding of one kind.
const manyHits = 5

// sayHits adds findings: one a rule, or one a table where it has many such rules. Counters are counted together always.
func (c *checker) sayHits(hits []hit) {
	type group struct {
		family   ruleset.Family
		table    string
		why      reason.Reason
		severity Severity
	}
	groups := map[group][]hit{}
	var keys []group
	for _, h := range hits {
		g := group{h.rule.Family, h.rule.Table, h.why, h.severity}
		if groups[g] == nil {
			keys = append(keys, g)
		}
		groups[g] = append(groups[g], h)
	}
	for _, g := range keys {
		hs := groups[g]
		if len(hs) > manyHits || g.why == reason.CounterSkipped {
			c.sayMany(hs)
			continue
		}
		for _, h := range hs {
			c.say(h.why, h.severity, c.rulePlace(h.rule), c.insteadOf(h), "%s", sentence(h.why, h.what))
		}
	}
}

func (c *checker) sayMany(hs []hit) {
	h := hs[0]
	more := ""
	if n := len(hs) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more rules of the table)", n)
	}
	c.say(h.why, h.severity, c.rulePlace(h.rule), c.insteadOf(h), "%s%s", sentence(h.why, h.what), more)
}

// sentence says what becomes of a statement.
func sentence(why reason.Reason, what string) string {
	const packets = "packets of offloaded flows"
	switch why {
	case reason.LimitSkipped:
		return packets + " do not meet this limit: their rate is not limited"
	case reason.QuotaSkipped:
		return packets + " do not use up this quota"
	case reason.LogSkipped:
		return packets + " are not logged: of each flow only the first ones are"
	case reason.CounterSkipped:
		return packets + " are not counted: this counts a few of each flow"
	case reason.MangleSkipped:
		return fmt.Sprintf("`%s` is not done to %s", what, packets)
	case reason.SetUpdateSkipped:
		return fmt.Sprintf("%s do not `%s`: an element may time out while its flow goes on", packets, what)
	case reason.QueueSkipped:
		return packets + " are not queued: the program sees the first ones of each flow only"
	case reason.ConnlimitSkipped:
		return packets + " are not held against this count; new connections are"
	case reason.DropSkipped:
		return "a flow that is offloaded already is not stopped by this rule"
	case reason.FlowAddBeforeDrop:
		return "`flow add` comes before this drop: the packet is dropped, yet its flow is offloaded, and the next ones pass"
	case reason.TimedRuleSkipped:
		return "a flow that is offloaded goes on past the time that this rule names"
	case reason.AccountingLost:
		return fmt.Sprintf("%s compares numbers that stand still while a flow is offloaded: its flowtable has no `counter`", what)
	default:
		return fmt.Sprintf("%s do not meet %s", packets, what)
	}
}
