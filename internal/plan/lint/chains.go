package lint

import (
	"cmp"
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// analysis follows classes of packets through the chains of a ruleset.
type analysis struct {
	rs      *ruleset.Ruleset
	devices deviceNames
	n       space
	sets    map[setKey]*ruleset.Set
	chains  map[chainKey]*ruleset.Chain
	facts   map[*ruleset.Rule]facts
	large   map[ruleset.SetRef]largeMap
	// passed are the classes that may come back from a regular chain to the one that jumped there.
	passed map[*ruleset.Chain]set
}

type chainKey struct {
	table *ruleset.Table
	name  string
}

func analyze(rs *ruleset.Ruleset) *analysis {
	a := &analysis{
		rs: rs, devices: numberDevices(rs),
		sets: map[setKey]*ruleset.Set{}, chains: map[chainKey]*ruleset.Chain{}, facts: map[*ruleset.Rule]facts{},
		large: map[ruleset.SetRef]largeMap{}, passed: map[*ruleset.Chain]set{},
	}
	a.n = a.devices.space()
	for _, t := range rs.Tables {
		for _, s := range t.Sets {
			a.sets[setKey{t, s.Name}] = s
		}
		for _, c := range t.Chains {
			a.chains[chainKey{t, c.Name}] = c
		}
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				a.facts[r] = a.read(t, r)
			}
		}
	}
	return a
}

// base is a base chain and its table.
type base struct {
	table *ruleset.Table
	chain *ruleset.Chain
}

// hooked returns the base chains that forwarded packets meet at a hook, in their order there. Chains of type nat see the
// first packet of a connection only and are left out.
func (a *analysis) hooked(hook string) []base {
	var out []base
	for _, t := range a.rs.Tables {
		if t.Dormant() || !routes(t.Family) {
			continue
		}
		for _, c := range t.Chains {
			if c.Base != nil && c.Base.Hook == hook && c.Base.Type != "nat" {
				out = append(out, base{t, c})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b base) int { return cmp.Compare(a.chain.Base.Priority, b.chain.Base.Priority) })
	return out
}

// routes reports whether chains of a family see routed packets.
func routes(f ruleset.Family) bool { return f == ruleset.IP || f == ruleset.IP6 || f == ruleset.Inet }

// familyWords are the classes that chains of a family see.
func familyWords(f ruleset.Family) word {
	switch f {
	case ruleset.IP:
		return ofFamily(familyIP)
	case ruleset.IP6:
		return ofFamily(familyIP6)
	default:
		return allWords
	}
}

// visitor is told of each rule with the classes that may come to it. They are the analysis's own: not to be kept.
type visitor func(t *ruleset.Table, c *ruleset.Chain, r *ruleset.Rule, arrives set)

// walkHook follows all packets through the base chains of a hook.
func (a *analysis) walkHook(hook string, visit visitor) {
	alive := a.n.filled(allWords)
	for _, b := range a.hooked(hook) {
		w := familyWords(b.table.Family)
		in, rest := a.n.empty(), a.n.empty()
		for i, x := range alive {
			in[i], rest[i] = x&w, x&^w
		}
		alive = a.walkBase(b, in, visit)
		alive.add(rest)
	}
}

// walkBase follows packets through a base chain and what it jumps to. It returns those that may go on behind it.
func (a *analysis) walkBase(b base, in set, visit visitor) (survive set) {
	order := a.reachable(b)
	arrive := map[*ruleset.Chain]set{b.chain: in}
	accepted := a.n.empty()
	for _, c := range order {
		s, ok := arrive[c]
		if !ok {
			continue
		}
		p := pass{a: a, table: b.table, arrive: arrive, accepted: accepted, back: a.n.empty()}
		p.chain(c, s, visit)
		if c == b.chain && b.chain.Base.Policy != "drop" {
			accepted.add(p.back)
		}
	}
	return accepted
}

// reachable returns a base chain and all that it leads to, each before those it jumps to.
func (a *analysis) reachable(b base) []*ruleset.Chain {
	var order []*ruleset.Chain
	seen := map[*ruleset.Chain]bool{}
	var visit func(c *ruleset.Chain)
	visit = func(c *ruleset.Chain) {
		seen[c] = true
		for _, r := range c.Rules {
			for _, o := range a.facts[r].outcomes {
				if to := a.target(b.table, o); to != nil && !seen[to] {
					visit(to)
				}
			}
		}
		order = append(order, c)
	}
	visit(b.chain)
	// Callees are in the list before their callers: what comes back from each is known when its callers need it.
	for _, c := range order {
		if _, known := a.passed[c]; !known && c != b.chain {
			p := pass{a: a, table: b.table, back: a.n.empty()}
			p.chain(c, a.n.filled(allWords), nil)
			a.passed[c] = p.back
		}
	}
	slices.Reverse(order)
	return order
}

// target returns the chain that a verdict leads to, or nil.
func (a *analysis) target(t *ruleset.Table, o outcome) *ruleset.Chain {
	if o.kind != ruleset.Jump && o.kind != ruleset.Goto {
		return nil
	}
	return a.chains[chainKey{t, o.target}]
}

// pass is one walk through one chain.
type pass struct {
	a        *analysis
	table    *ruleset.Table
	arrive   map[*ruleset.Chain]set // what jumps bring to other chains; nil where nobody asks
	accepted set                    // nil where nobody asks
	back     set                    // what returns or falls off the end
}

// chain walks the rules. It changes s.
func (p *pass) chain(c *ruleset.Chain, s set, visit visitor) {
	for _, r := range c.Rules {
		if visit != nil {
			visit(p.table, c, r, s)
		}
		for _, o := range p.a.facts[r].outcomes {
			p.outcome(o, s)
		}
	}
	p.back.add(s)
}

// outcome takes out of s what the verdict decides for certain, and notes where what it may decide goes.
func (p *pass) outcome(o outcome, s set) {
	n := p.a.n
	switch o.kind {
	case ruleset.Accept:
		if p.accepted != nil {
			n.addPart(p.accepted, s, o.may)
		}
	case ruleset.Return:
		n.addPart(p.back, s, o.may)
	case ruleset.Jump, ruleset.Goto:
		p.leave(o, s)
		return
	case ruleset.Drop, ruleset.Continue:
	}
	n.each(o.must, func(i int) { s[i] &^= o.must.w })
}

func (p *pass) leave(o outcome, s set) {
	n := p.a.n
	to := p.a.target(p.table, o)
	if to == nil {
		return
	}
	if p.arrive != nil {
		if p.arrive[to] == nil {
			p.arrive[to] = n.empty()
		}
		n.addPart(p.arrive[to], s, o.may)
	}
	comes, known := p.a.passed[to]
	if !known { // a loop, which the kernel refuses
		comes = n.filled(allWords)
	}
	if o.kind == ruleset.Goto {
		n.each(o.may, func(i int) { p.back[i] |= s[i] & o.may.w & comes[i] })
		n.each(o.must, func(i int) { s[i] &^= o.must.w })
		return
	}
	n.each(o.must, func(i int) { s[i] &^= o.must.w &^ comes[i] })
}
