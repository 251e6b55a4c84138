// Package cond turns the matches of a rule into the conditions of a share, as nft turns them into expressions of the
// kernel: with the questions that the rule's author left out (`tcp dport` asks for meta l4proto first), and with the
// matches that old versions of nft join. It is exact: what conditions cannot say is refused with a reason.
//
// Matches enter as values of package ruleset, rule by rule; conditions leave as those of package share, but for the
// numbers of named sets, which package plan gives. What a packet looks like at a hook is not known here (package plan
// says which matches of a rule come out there as in the kernel).
package cond

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Place is where rules are, and what is the same for all packets that come there.
type Place struct {
	Table *ruleset.Table
	// Device is the one that packets come in by. Ethernet says that it is one of Ethernet; of others, meta iiftype is
	// not known.
	Device   string
	Ethernet bool
	// Frames says that the kernel has not seen the packet yet: the packet type is to be told from the address.
	Frames bool
	// Joins says that nft is older than 1.1.0 (joined.go).
	Joins bool
	Sets  *Sets
}

// Cond is a condition of a share. Where it is Named, Of is the set, and the number of the set is not set yet.
type Cond struct {
	share.Cond
	Of *ruleset.Set
}

// Rule is the conditions of a rule.
type Rule struct {
	Conds []Cond
	// Never says that no packet of the device meets them.
	Never bool
}

// Refusal is why matches are no conditions.
type Refusal struct {
	Reason reason.Reason
	Detail string
}

func refuse(r reason.Reason, detail string) *Refusal { return &Refusal{r, detail} }

// Rule turns the matches of a rule into conditions: the runs of matches between its other statements.
func (p Place) Rule(runs [][]ruleset.Match) (*Rule, *Refusal) {
	c := p.compiler()
	no := c.runs(runs)
	return &c.rule, no
}

func (c *compiler) runs(runs [][]ruleset.Match) *Refusal {
	for _, ms := range runs {
		last, elsewhere := c.joined(ms)
		for i, m := range ms {
			var no *Refusal
			switch {
			case elsewhere[i]:
			case last[i] != nil:
				no = c.unequal(ms, last[i])
			default:
				no = c.match(m)
			}
			if no != nil {
				return no
			}
		}
	}
	return nil
}

// Key turns the lookup of a key in a named verdict map into fields, behind the matches of its rule.
func (p Place) Key(runs [][]ruleset.Match, key ruleset.Expr, set *ruleset.Set) (*Rule, []share.Field, *Refusal) {
	c := p.compiler()
	if no := c.runs(runs); no != nil {
		return nil, nil, no
	}
	os, no := c.operands(key)
	if no != nil {
		return nil, nil, no
	}
	fields, no := c.namedFields(os, set)
	return &c.rule, fields, no
}

// compiler goes through the matches of one rule, and keeps what nft knows about the packet there (struct proto_ctx).
type compiler struct {
	Place
	rule Rule
	// link is the number of link headers that were asked for: 1 for Ethernet, one more for each VLAN tag.
	link               int
	network, transport string
	icmpType           bool
}

func (p Place) compiler() *compiler {
	c := &compiler{Place: p}
	switch p.Table.Family {
	case ruleset.IP, ruleset.IP6, ruleset.ARP:
		c.network = string(p.Table.Family)
	case ruleset.Bridge:
		c.link = 1
	case ruleset.Inet, ruleset.Netdev:
	}
	return c
}

// match compiles one match.
func (c *compiler) match(m ruleset.Match) *Refusal {
	os, no := c.operands(m.Left)
	if no != nil {
		return no
	}
	if no := c.compare(os, m); no != nil {
		return no
	}
	c.learn(m)
	return nil
}

// compare adds the condition of a match.
func (c *compiler) compare(os []operand, m ruleset.Match) *Refusal {
	not := m.Op == "!="
	switch right := m.Right.(type) {
	case ruleset.SetRef:
		return c.named(os, not, right)
	case ruleset.SetLit:
		if m.Op == "!" {
			break
		}
		return c.anonymous(os, not, right)
	case ruleset.Concat:
		return c.anonymous(os, not, ruleset.SetLit{right})
	}
	if len(os) != 1 {
		return refuse(reason.MatchNotEarly, "a concatenation compared with one value")
	}
	o := os[0]
	switch m.Op {
	case "in", "!":
		return c.bits(o, m)
	case "==", "!=":
		return c.anonymous([]operand{o.upTo(m)}, not, ruleset.SetLit{m.Right})
	}
	return c.ordered(o, m)
}

// bits asks whether one of some bits is set, or none.
func (c *compiler) bits(o operand, m ruleset.Match) *Refusal {
	if !o.typ.Bitmask() {
		if m.Op == "in" {
			return c.anonymous([]operand{o}, false, ruleset.SetLit{m.Right})
		}
		return refuse(reason.MatchNotEarly, "the bits of a field that has none")
	}
	bits, ok := o.constant(m.Right)
	if !ok {
		return notConstant(o)
	}
	o = o.and(bits)
	return c.add([]operand{o}, m.Op == "in", []share.Key{{interval(space.Value{})}})
}

// ordered asks whether a value is below or above another.
func (c *compiler) ordered(o operand, m ruleset.Match) *Refusal {
	v, ok := o.constant(m.Right)
	if !ok {
		return notConstant(o)
	}
	zero, top := space.Value{}, space.Highest(o.field.Len)
	var key share.Key
	not := false
	switch m.Op {
	case "<=":
		key = share.Key{{First: zero, Last: v}}
	case ">=":
		key = share.Key{{First: v, Last: top}}
	case "<":
		key, not = share.Key{{First: v, Last: top}}, true
	case ">":
		key, not = share.Key{{First: zero, Last: v}}, true
	default:
		return refuse(reason.MatchNotEarly, "operator "+m.Op)
	}
	return c.add([]operand{o}, not, []share.Key{key})
}

// anonymous asks whether a value is one of those of a set that is written in the rule.
func (c *compiler) anonymous(os []operand, not bool, elems ruleset.SetLit) *Refusal {
	keys := make([]share.Key, 0, len(elems))
	for _, e := range elems {
		ks, ok := keysOf(os, space.KeyOf(e))
		if !ok {
			return notConstant(os...)
		}
		keys = append(keys, ks...)
	}
	return c.add(os, not, keys)
}

// add adds the condition that the values of operands are, or are not, one of some keys.
func (c *compiler) add(os []operand, not bool, keys []share.Key) *Refusal {
	if len(os) == 1 && os[0].packetType {
		return c.packetType(not, keys)
	}
	cond := Cond{Cond: share.Cond{Not: not}}
	keys, ok := lowered(os, keys)
	if !ok {
		return refuse(reason.MatchNotEarly, "an order of bits that were moved or turned over")
	}
	all := false
	for _, o := range os {
		if o.fixed == nil {
			cond.Fields = append(cond.Fields, o.read())
		}
	}
	if len(cond.Fields) == 0 {
		all = len(keys) > 0
	}
	switch {
	case len(cond.Fields) == 0:
		c.rule.Never = c.rule.Never || all == not
		return nil
	case len(keys) == 0 && !not:
		c.rule.Never = true
		return nil
	case len(keys) == 0:
		// None of no values: the fields have to be there.
		cond.Not, keys = false, []share.Key{anything(cond.Fields)}
	}
	cond.Keys = keys
	c.append(cond)
	return nil
}

// append adds a condition.
func (c *compiler) append(cond Cond) { c.rule.Conds = cond.Join(c.rule.Conds) }

// Join adds the condition to others, if it is not there yet: what nft asks for is often asked for again.
func (c Cond) Join(all []Cond) []Cond {
	const most = 4 // keys that are compared; longer lists are hardly there twice
	same := func(o Cond) bool {
		return o.Not == c.Not && o.Named == c.Named && o.Of == c.Of && slices.Equal(o.Fields, c.Fields) &&
			slices.EqualFunc(o.Keys, c.Keys, func(a, b share.Key) bool { return slices.Equal(a, b) })
	}
	if len(c.Keys) <= most && slices.ContainsFunc(all, same) {
		return all
	}
	return append(all, c)
}

// need adds the condition that a field has one of some values.
func (c *compiler) need(f space.Field, values ...uint64) {
	cond := Cond{Cond: share.Cond{Fields: []share.Field{whole(f)}}}
	for _, v := range values {
		cond.Keys = append(cond.Keys, share.Key{interval(space.Number(v))})
	}
	c.append(cond)
}

func whole(f space.Field) share.Field { return share.Field{At: f, Mask: space.Highest(f.Len)} }

func interval(v space.Value) space.Interval { return space.Interval{First: v, Last: v} }

// anything is the key that all packets have which have the fields.
func anything(fields []share.Field) share.Key {
	k := make(share.Key, len(fields))
	for i, f := range fields {
		k[i].Last = space.Highest(f.At.Len)
	}
	return k
}
