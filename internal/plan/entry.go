package plan

import (
	"fmt"
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

	// disorder is why it matters which of two chains comes first that have no order.
	disorder Finding
	// verdicts is the map that decides, by the values of keys.
	verdicts *ruleset.Set
	keys     []share.Field

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
	from := len(f.entries)
	f.room += len(c.Rules)
	f.chain(c, w)
	switch {
	case c.Base.Policy == string(ruleset.Drop):
		f.append(&entry{chain: c, effect: effect{ending: drops}, space: w.scan.Space, end: w.scan.Space}, w)
	case len(f.entries) == from:
		f.append(&entry{chain: c, space: space.Nothing(), end: space.Nothing()}, w) // what the kernel asks before it (begin)
	}
	if t.Fleeting() {
		leaveToKernel(f.entries[from:], Finding{Reason: reason.TableOwned, Detail: fmt.Sprintf("table %s %s", t.Family, t.Name)})
	}
}

// leaveToKernel pins all effects of entries.
func leaveToKernel(entries []*entry, why Finding) {
	for _, e := range entries {
		if !e.effect.none() {
			e.effect.pinned = first(e.effect.pinned, why)
		}
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
		if e.chain == c && (e.effect.ending == leaves || e.effect.ending == decides) && e.to == 0 {
			e.to = len(f.entries)
		}
	}
}

// rule appends the entries of a rule: one, or more where it counts before its last match, jumps, or looks something up.
func (f *flattener) rule(c *ruleset.Chain, r *ruleset.Rule, w way) {
	rd := read(w.scan, r, f.in(w.table))
	if rd.counted != nil {
		e := entryOf(c, r, *rd.counted, w)
		f.conditions(&e, w, rd.counted.runs)
		f.append(&e, w)
	}
	e := entryOf(c, r, rd, w)
	if e.effect.ending == leaves && w.depth == 0 && rd.jump == nil {
		e.effect.ending = policy(c)
	}
	switch {
	case rd.vmap != nil:
		f.verdictMap(e, rd, w)
		return
	case rd.fwd != nil:
		f.deviceMap(e, rd, w)
		return
	}
	f.conditions(&e, w, rd.runs)
	if rd.jump != nil {
		f.jump(e, *rd.jump, rd.end, w)
		return
	}
	f.append(&e, w)
}

func entryOf(c *ruleset.Chain, r *ruleset.Rule, rd reading, w way) entry {
	return entry{
		chain: c, rule: r, effect: rd.effect, space: rd.touched.Space, end: rd.end.Space,
		match: first(w.match, rd.match), frame: first(w.frame, rd.frame), steps: append(slices.Clip(w.steps), slices.Concat(rd.runs...)),
	}
}

// in is the look at rules of a table.
func (f *flattener) in(t *ruleset.Table) look {
	l := f.look
	l.table = t
	return l
}

// policy is what a return from a base chain is.
func policy(c *ruleset.Chain) ending {
	if c.Base.Policy == string(ruleset.Drop) {
		return drops
	}
	return accepts
}

// conditions turns the matches of a rule into the conditions of its entry, behind those of the way there.
func (f *flattener) conditions(e *entry, w way, runs [][]ruleset.Match) {
	if f.look.known == nil || !e.match.None() {
		return
	}
	r, no := f.in(w.table).place().Rule(runs)
	e.take(r, no, w)
}

// take gives an entry the conditions of its rule behind those of the way there, or the reason why there are none.
func (e *entry) take(r *cond.Rule, no *cond.Refusal, w way) {
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
			e.space = e.end // else something was done before the last match
		}
	}
}

// runs are the matches of a rule between its other statements.
func runs(r *ruleset.Rule) [][]ruleset.Match {
	out := [][]ruleset.Match{nil}
	for _, s := range r.Stmts {
		last := len(out) - 1
		if m, ok := s.(ruleset.Match); ok {
			out[last] = append(out[last], m)
		} else if len(out[last]) > 0 {
			out = append(out, nil)
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
