package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

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
		end.space = e.end
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

// verdictMap appends an entry for each verdict of a map, or one for a map whose elements may become others.
func (f *flattener) verdictMap(e entry, rd reading, w way) {
	if set := f.changing(rd.vmap.Data, w.table); set != nil && rd.match.None() && f.look.known != nil {
		f.decide(e, set, rd, w)
		return
	}
	branches, ok := rd.end.Branches(rd.vmap.Key, rd.vmap.Data)
	if !ok {
		e.effect = e.effect.add(effect{ending: unknown, pinned: first(rd.match, rd.frame, Finding{Reason: reason.OpaqueStatement, Detail: "verdict map"})})
		f.append(&e, w)
		return
	}
	for i, b := range branches {
		one := f.branch(e, rd.vmap.Key, branches, i, rd, w)
		one.effect = e.effect.add(verdict(b.Verdict))
		switch {
		case b.Verdict.Kind == ruleset.Continue && one.effect.none() && len(branches) > 1:
			continue // nothing is done, and the other branches exclude it
		case one.effect.ending == leaves && w.depth == 0 && b.Verdict.Kind == ruleset.Return:
			one.effect.ending = policy(e.chain)
		case b.Verdict.Kind == ruleset.Jump || b.Verdict.Kind == ruleset.Goto:
			f.jump(one, b.Verdict, b.Scan, w)
			continue
		}
		f.append(&one, w)
	}
}

// deviceMap appends an entry for each device that a map sends to.
func (f *flattener) deviceMap(e entry, rd reading, w way) {
	branches, ok := rd.end.Branches(rd.fwd.Key, rd.fwd.Data)
	if !ok {
		e.effect = e.effect.add(effect{ending: forwards, pinned: first(rd.match, Finding{Reason: reason.FwdTargetNotEarly, Detail: "the device is looked up for each packet"})})
		f.append(&e, w)
		return
	}
	for i, b := range branches {
		one := f.branch(e, rd.fwd.Key, branches, i, rd, w)
		one.effect = e.effect.add(effect{ending: forwards, device: b.Device})
		f.append(&one, w)
	}
}

// branch is the entry of a rule for the keys of one branch.
func (f *flattener) branch(e entry, key ruleset.Expr, branches []space.Branch, i int, rd reading, w way) entry {
	b := branches[i]
	own := ruleset.Match{Op: "==", Left: key, Right: ruleset.SetLit(b.Keys)}
	e.steps = append(slices.Clip(w.steps), append(slices.Concat(rd.runs...), own))
	e.end = b.Scan.Space
	if rd.effect.none() {
		e.space = e.end
	}
	f.conditions(&e, w, append(slices.Clip(rd.runs), []ruleset.Match{keyed(key, branches, i)}))
	return e
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

// changing is the map that an expression names, if its elements may become others.
func (f *flattener) changing(data ruleset.Expr, t *ruleset.Table) *ruleset.Set {
	name, ok := data.(ruleset.SetRef)
	if !ok {
		return nil
	}
	set := t.Set(string(name))
	if set == nil || !f.reader.Changes(set) {
		return nil
	}
	return set
}

// decide appends the entry of a verdict map that is looked up as it is when packets come.
func (f *flattener) decide(e entry, set *ruleset.Set, rd reading, w way) {
	e.verdicts = set
	e.end = rd.end.Lookup(rd.vmap.Key, rd.vmap.Data).Space
	if rd.effect.none() {
		e.space = e.end
	}
	if v, ok := leads(set); ok {
		e.effect = e.effect.add(effect{ending: unknown, pinned: Finding{Reason: reason.MapJumps, Detail: "map " + set.Name + ", " + string(v.Kind) + " " + v.Target}})
		f.append(&e, w)
		return
	}
	if crosses(rd.vmap.Key, set) {
		e.effect = e.effect.add(effect{ending: unknown, pinned: Finding{Reason: reason.MatchNoPlace, Detail: "map " + set.Name + ": of concatenations with intervals that cross, the one decides that the kernel was given first"}})
		f.append(&e, w)
		return
	}
	e.effect = e.effect.add(effect{ending: decides})
	if e.match.None() {
		r, keys, no := f.in(w.table).place().Key(rd.runs, rd.vmap.Key, set)
		e.keys = keys
		e.take(r, no, w)
	}
	f.append(&e, w)
}

// crosses reports whether elements of a map may have keys in common.
func crosses(key ruleset.Expr, set *ruleset.Set) bool {
	_, several := key.(ruleset.Concat)
	return several && slices.Contains(set.Flags, "interval")
}

// leads is a jump or goto in a verdict map.
func leads(set *ruleset.Set) (ruleset.Verdict, bool) {
	for _, e := range set.Elems {
		if p, ok := e.(ruleset.Pair); ok {
			if v, ok := p.Data.(ruleset.Verdict); ok && v.Target != "" {
				return v, true
			}
		}
	}
	return ruleset.Verdict{}, false
}
