package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/cond"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// entry is a rule on one way that packets can come to it, from the hook.
type entry struct {
	chain *ruleset.Chain
	rule  *ruleset.Rule // nil: the policy of the chain
	base  *ruleset.Chain
	order int
	// flowtable is set in place of a chain for packets that the kernel's flowtable sends on.
	flowtable *ruleset.Flowtable

	effect effect
	// space is the packets that notice whether the entry was executed, end those that get its verdict.
	space space.Space
	end   space.Space
	// match is why the matches on the way cannot be made at the device's hook, frame why not in hardware.
	match, frame Finding
	// steps are the matches of each rule on the way, conds what a program makes of them.
	steps [][]ruleset.Match
	conds []cond.Cond
	// The entries of the chain that a jump leads to, as indexes [from, to). Behind an entry that leaves its chain,
	// evaluation goes on at to.
	jumps    bool
	from, to int

	at              Tier    // that of the device's hook
	early, hardware Finding // why not there
	filters         []numbered
}

func (e *entry) tier() Tier {
	switch {
	case e.hardware.None():
		return Hardware
	case e.early.None():
		return e.at
	}
	return Software
}

// ref names the rule.
func (e *entry) ref() *Ref {
	if f := e.flowtable; f != nil {
		return &Ref{Family: f.Family, Table: f.Table, Flowtable: f.Name}
	}
	r := &Ref{Family: e.chain.Family, Table: e.chain.Table, Chain: e.chain.Name}
	if e.rule != nil {
		r.Handle, r.Number = e.rule.Handle, e.rule.Index+1
	}
	return r
}

// readsTag reports whether the entry depends on a VLAN tag, which is where an untagged frame has its type.
func (e *entry) readsTag() bool {
	const typeAt = 96 // bits of the Ethernet header
	return slices.ContainsFunc(e.conds, func(c cond.Cond) bool {
		return slices.ContainsFunc(c.Fields, func(f share.Field) bool { return f.At.Base == space.Link && f.At.Off+f.At.Len > typeAt })
	})
}

// jumpDepth is how many jumps the kernel follows (NFT_JUMP_STACK_SIZE, include/net/netfilter/nf_tables.h).
const jumpDepth = 16

// roomForCopies bounds the entries that jumps may add to those of a ruleset without any.
const roomForCopies = 1 << 14

// flattener writes base chains as lists of entries.
type flattener struct {
	reader  *space.Reader
	look    look // but for the table
	entries []*entry
	room    int
}

// newFlattener returns a flattener of chains whose rules run where look looks.
func newFlattener(r *space.Reader, l look) *flattener {
	l.reader, l.sets = r, map[*ruleset.Set]Finding{}
	return &flattener{reader: r, look: l}
}

// way is how packets come to a chain.
type way struct {
	table *ruleset.Table
	base  *ruleset.Chain
	scan  space.Scan
	steps [][]ruleset.Match
	conds []cond.Cond
	depth int

	match, frame Finding
}

// baseChain appends the entries of a base chain for packets of a device.
func (f *flattener) baseChain(t *ruleset.Table, c *ruleset.Chain, device space.Space) {
	w := way{table: t, base: c, scan: f.reader.Start(t).With(device)}
	f.room += len(c.Rules)
	f.chain(c, w)
	if c.Base.Policy == string(ruleset.Drop) {
		f.append(&entry{chain: c, effect: effect{ending: drops}, space: w.scan.Space, end: w.scan.Space}, w)
	}
}

// sentOn appends an entry for a flowtable: packets of its flows come to none of the chains behind it.
func (f *flattener) sentOn(ft *ruleset.Flowtable) {
	s := space.Where(space.L4Proto(), protocolsOfFlows()).Loose()
	f.append(&entry{
		flowtable: ft, space: s, end: s, effect: effect{ending: forwards, pinned: Finding{Reason: reason.SideEffect, Detail: "flowtable"}},
	}, way{})
}

func (f *flattener) append(e *entry, w way) *entry {
	e.base, e.order = w.base, len(f.entries)
	f.entries = append(f.entries, e)
	return e
}

func (f *flattener) chain(c *ruleset.Chain, w way) {
	from := len(f.entries)
	for _, r := range c.Rules {
		f.rule(c, r, w)
	}
	for _, e := range f.entries[from:] {
		if e.chain == c && e.effect.ending == leaves && e.to == 0 {
			e.to = len(f.entries)
		}
	}
}

func (f *flattener) rule(c *ruleset.Chain, r *ruleset.Rule, w way) {
	l := f.look
	l.table = w.table
	rd := read(w.scan, r, l)
	e := entry{
		chain: c, rule: r, effect: rd.effect, space: rd.touched.Space, end: rd.end.Space,
		match: first(w.match, rd.match), frame: first(w.frame, rd.frame), steps: append(slices.Clip(w.steps), matches(r)),
	}
	if rd.vmap == nil {
		f.conditions(&e, w, matches(r))
	}
	if e.effect.ending == leaves && w.depth == 0 && rd.jump == nil {
		e.effect.ending = policy(c)
	}
	if rd.vmap != nil {
		f.verdictMap(e, rd, w)
		return
	}
	if rd.jump == nil {
		f.append(&e, w)
		return
	}
	f.jump(e, *rd.jump, rd.end, w)
}

// policy is what a return from a base chain is.
func policy(c *ruleset.Chain) ending {
	if c.Base.Policy == string(ruleset.Drop) {
		return drops
	}
	return accepts
}

// jump appends the entry of a rule that jumps, and those of the chain it jumps to. Behind a goto the packets do not
// come back.
func (f *flattener) jump(e entry, v ruleset.Verdict, scan space.Scan, w way) {
	own := e
	own.jumps = true
	if v.Kind == ruleset.Goto {
		own.effect.ending = goesOn
	}
	at := f.append(&own, w)
	at.from = len(f.entries)
	inner := way{
		table: w.table, base: w.base, scan: scan, steps: e.steps, conds: e.conds, depth: w.depth + 1, match: e.match, frame: e.frame,
	}
	if e.end.Empty() {
		inner.scan.Space = space.Nothing()
	}
	if !f.fits(at, v.Target, inner) {
		at.to = len(f.entries)
		return
	}
	f.chain(w.table.Chain(v.Target), inner)
	at.to = len(f.entries)
	if v.Kind == ruleset.Goto {
		end := e
		end.effect = effect{ending: leaves}
		end.space = scan.Space
		f.append(&end, w)
	}
}

// fits reports whether the rules of a chain can be written out where it is jumped to. Where not, anything may happen
// there.
func (f *flattener) fits(e *entry, target string, w way) bool {
	c := w.table.Chain(target)
	anything := func(r reason.Reason, detail string) bool {
		e.effect = e.effect.add(effect{ending: unknown, pinned: Finding{Reason: r, Detail: detail}})
		e.jumps = false
		return false
	}
	switch {
	case c == nil:
		return anything(reason.OpaqueStatement, "chain "+target+" is not in the ruleset")
	case w.depth > jumpDepth:
		return anything(reason.OpaqueStatement, "more jumps than the kernel follows")
	case len(f.entries)+len(c.Rules) > f.room+roomForCopies:
		return anything(reason.ExpansionTooLarge, "chain "+target+" is jumped to too often to be written out each time")
	}
	return true
}

// verdictMap appends an entry for each verdict of a map.
func (f *flattener) verdictMap(e entry, rd reading, w way) {
	branches, ok := rd.end.Branches(*rd.vmap)
	if !ok {
		e.effect = e.effect.add(effect{ending: unknown, pinned: first(rd.match, rd.frame, Finding{Reason: reason.OpaqueStatement, Detail: "verdict map"})})
		f.append(&e, w)
		return
	}
	for i, b := range branches {
		one := e
		one.effect = e.effect.add(verdict(b.Verdict))
		if one.effect.ending == leaves && w.depth == 0 && b.Verdict.Kind == ruleset.Return {
			one.effect.ending = policy(e.chain)
		}
		own := append(slices.Clip(matches(e.rule)), ruleset.Match{Op: "==", Left: rd.vmap.Key, Right: ruleset.SetLit(b.Keys)})
		one.steps = append(slices.Clip(w.steps), own)
		one.end = b.Scan.Space
		if rd.effect.none() {
			one.space = one.end
		}
		f.conditions(&one, w, append(slices.Clip(matches(e.rule)), keyed(rd.vmap.Key, branches, i)))
		if b.Verdict.Kind == ruleset.Jump || b.Verdict.Kind == ruleset.Goto {
			f.jump(one, b.Verdict, b.Scan, w)
			continue
		}
		f.append(&one, w)
	}
}

// keyed is the match of a key that leads to a branch: one of its keys, or none of the others.
func keyed(key ruleset.Expr, branches []space.Branch, i int) ruleset.Match {
	if !branches[i].Rest() {
		return ruleset.Match{Op: "==", Left: key, Right: ruleset.SetLit(branches[i].Keys)}
	}
	var others ruleset.SetLit
	for j, b := range branches {
		if j != i {
			others = append(others, b.Keys...)
		}
	}
	return ruleset.Match{Op: "!=", Left: key, Right: others}
}

// conditions turns the matches of a rule into the conditions of its entry, behind those of the way there.
func (f *flattener) conditions(e *entry, w way, ms []ruleset.Match) {
	if f.look.sets == nil || f.look.known == nil || !e.match.None() {
		return
	}
	l := f.look
	l.table = w.table
	r, no := l.place().Rule(ms)
	if no != nil {
		e.match = Finding{Reason: no.Reason, Detail: no.Detail}
		return
	}
	e.conds = slices.Clip(w.conds)
	for _, c := range r.Conds {
		e.conds = c.Join(e.conds)
	}
	if r.Never {
		e.end = space.Nothing()
		if e.effect.pinned.None() {
			e.space = e.end // else something is done before the last match
		}
	}
}

// matches are those of a rule.
func matches(r *ruleset.Rule) []ruleset.Match {
	var out []ruleset.Match
	for _, s := range r.Stmts {
		if m, ok := s.(ruleset.Match); ok {
			out = append(out, m)
		}
	}
	return out
}

// first is the first finding that is one.
func first(fs ...Finding) Finding {
	for _, f := range fs {
		if !f.None() {
			return f
		}
	}
	return Finding{}
}
