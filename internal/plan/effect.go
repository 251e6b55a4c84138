package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// ending is how a rule ends the evaluation of a packet that it matches.
type ending uint8

const (
	goesOn   ending = iota // to the next rule
	accepts                // ends this base chain; later ones still see the packet
	leaves                 // return and goto: ends this chain
	drops                  // final
	forwards               // final: out of a device
	decides                // as the element of a verdict map says: accept, drop, return or continue
	unknown                // anything may happen
)

// effect is what a rule does with the packets that it matches.
type effect struct {
	ending  ending
	counter bool   // a counter of its own, which can be executed anywhere and added up
	device  string // of forwards
	copy    string // the device that a copy is sent out of; empty: none
	// pinned is why the effect is the kernel's alone.
	pinned Finding
}

// none reports whether nobody can tell whether the rule was executed.
func (e effect) none() bool {
	return e.ending == goesOn && !e.counter && e.copy == "" && e.pinned.None()
}

// final reports whether no chain sees the packet again.
func (e effect) final() bool { return e.ending == drops || e.ending == forwards }

// commutes reports whether two rules may change places though both match a packet: they decide the same, and nobody
// counts.
func (e effect) commutes(f effect) bool {
	return e.ending == f.ending && e.device == f.device && !e.counter && !f.counter && e.copy == "" && f.copy == "" && e.pinned.None() && f.pinned.None() &&
		(e.ending == drops || e.ending == accepts || e.ending == forwards)
}

// step is what one statement adds to the effect of its rule.
func step(s ruleset.Stmt) effect {
	switch s := s.(type) {
	case ruleset.Match, ruleset.VMap:
		return effect{}
	case ruleset.Counter:
		if s.Ref != nil {
			return sideEffect("counter of a name, which other rules and the user share")
		}
		return effect{counter: true}
	case ruleset.Verdict:
		return verdict(s)
	case ruleset.Fwd:
		return forward(s)
	case ruleset.Mangle:
		return pin(reason.MangleNotEarly, fmt.Sprintf("%v set", s.Key))
	case ruleset.Reject:
		return effect{ending: drops, pinned: Finding{Reason: reason.VerdictNotEarly, Detail: "reject"}}
	case ruleset.Queue:
		return effect{ending: unknown, pinned: Finding{Reason: reason.VerdictNotEarly, Detail: "queue"}}
	case ruleset.Opaque:
		return effect{ending: unknown, pinned: Finding{Reason: reason.OpaqueStatement}}
	case ruleset.Quota:
		return sideEffect("quota")
	case ruleset.Limit:
		return sideEffect("limit")
	case ruleset.CTCount:
		return sideEffect("ct count")
	case ruleset.Dup:
		// nft writes the device of `dup to DEVICE` as an address (src/json.c dup_stmt_json).
		if dev, ok := s.Addr.(ruleset.Str); ok && s.Dev == nil {
			return effect{copy: string(dev)}
		}
		return sideEffect("dup")
	case ruleset.NAT:
		return sideEffect(s.Kind)
	case ruleset.SetUpdate:
		return sideEffect(fmt.Sprintf("%s of set %s", s.Op, s.Set))
	case ruleset.Meter:
		return sideEffect("meter")
	case ruleset.XT:
		return effect{ending: unknown, pinned: Finding{Reason: reason.VerdictNotEarly, Detail: "an extension of iptables"}}
	case ruleset.FlowAdd:
		return sideEffect("flow add")
	case ruleset.SetObject:
		return sideEffect(s.Kind)
	case ruleset.Action:
		return action(s)
	}
	return effect{ending: unknown, pinned: Finding{Reason: reason.OpaqueStatement}}
}

func verdict(v ruleset.Verdict) effect {
	switch v.Kind {
	case ruleset.Accept:
		return effect{ending: accepts}
	case ruleset.Drop:
		return effect{ending: drops}
	case ruleset.Return, ruleset.Goto:
		return effect{ending: leaves}
	case ruleset.Continue, ruleset.Jump:
		return effect{}
	}
	return effect{ending: unknown, pinned: Finding{Reason: reason.OpaqueStatement, Detail: string(v.Kind)}}
}

func forward(f ruleset.Fwd) effect {
	dev, ok := f.Dev.(ruleset.Str)
	e := effect{ending: forwards, device: string(dev)}
	switch {
	case f.Addr != nil:
		e.pinned = Finding{Reason: reason.FwdToAddress}
	case isMap(f.Dev):
		return effect{} // a match of the key, and one of the devices
	case !ok:
		e.pinned = Finding{Reason: reason.FwdTargetNotEarly, Detail: "the device is looked up for each packet"}
	}
	return e
}

func isMap(e ruleset.Expr) bool {
	_, ok := e.(ruleset.Map)
	return ok
}

// action is the effect of a statement without a type of its own.
func action(a ruleset.Action) effect {
	switch a.Kind {
	case "tproxy", "synproxy", "xt":
		return effect{ending: unknown, pinned: Finding{Reason: reason.VerdictNotEarly, Detail: a.Kind}}
	}
	return sideEffect(a.Kind)
}

func sideEffect(what string) effect { return pin(reason.SideEffect, what) }

func pin(r reason.Reason, what string) effect {
	return effect{pinned: Finding{Reason: r, Detail: what}}
}

// add joins the effect of the next statement to that of those before.
func (e effect) add(f effect) effect {
	if f.ending != goesOn {
		e.ending, e.device = f.ending, f.device
	}
	if e.copy != "" && f.copy != "" && f.pinned.None() {
		f.pinned = Finding{Reason: reason.SideEffect, Detail: "more than one dup"}
	}
	e.counter, e.copy = e.counter || f.counter, cmp.Or(e.copy, f.copy)
	if e.pinned.None() {
		e.pinned = f.pinned
	}
	return e
}

// conditional reports whether a statement may end the rule for a packet without being a match.
func conditional(s ruleset.Stmt) bool {
	switch s.(type) {
	case ruleset.Quota, ruleset.Limit, ruleset.CTCount, ruleset.FlowAdd, ruleset.Opaque, ruleset.SetUpdate,
		ruleset.Meter, ruleset.XT:
		return true
	}
	return false
}

// reading is a rule as it was read: the packets that it does something to, and what.
type reading struct {
	effect effect
	// touched is where the first statement is that does something: the packets that notice the rule.
	touched space.Scan
	// end is where the rule's verdict is.
	end space.Scan
	// match is why the matches cannot be made at the device's hook, frame why not in hardware.
	match, frame Finding
	// runs are the matches, between other statements.
	runs [][]ruleset.Match
	// jump, vmap and fwd are a jump, goto, verdict map or map of devices that the rule ends in.
	jump *ruleset.Verdict
	vmap *ruleset.VMap
	fwd  *ruleset.Map
	// counted is the rule up to a counter that has matches behind it: these are a rule of their own.
	counted *reading
}

// read reads the rule of a chain whose packets are those of the scan.
func read(s space.Scan, r *ruleset.Rule, l look) reading {
	rd := reading{runs: [][]ruleset.Match{nil}}
	s = s.NewRule()
	if r.Misread != "" {
		rd.does(effect{ending: unknown, pinned: Finding{Reason: reason.RuleMisread, Detail: r.Misread}}, s)
		rd.end = s
		return rd
	}
	joined, number := l.joined(r), -1
	for _, stmt := range r.Stmts {
		switch stmt := stmt.(type) {
		case ruleset.Match:
			rd.cut()
			number++
			s = rd.matched(s, stmt, joined[number], l)
			continue
		case ruleset.VMap:
			rd.cut()
			rd.note(l, func(l look) Finding { return l.lookup(stmt.Key, stmt.Data) })
			rd.vmap = &stmt
		case ruleset.Verdict:
			if stmt.Kind == ruleset.Jump || stmt.Kind == ruleset.Goto {
				rd.jump = &stmt
			}
		case ruleset.Fwd:
			if m, ok := stmt.Dev.(ruleset.Map); ok && stmt.Addr == nil {
				rd.cut()
				rd.note(l, func(l look) Finding { return l.lookup(m.Key, m.Data) })
				rd.fwd = &m
			}
		}
		rd.does(step(stmt), s)
		if conditional(stmt) {
			s.Space = s.Space.Loose()
		}
		if rd.effect.ending != goesOn || rd.jump != nil {
			break
		}
	}
	rd.end = s
	if rd.effect.none() {
		rd.touched = s
	}
	return rd
}

// matched is what gets past a match.
func (rd *reading) matched(s space.Scan, m ruleset.Match, joined bool, l look) space.Scan {
	last := len(rd.runs) - 1
	rd.runs[last] = append(rd.runs[last], m)
	rd.note(l, func(l look) Finding { return l.match(m) })
	if joined {
		rd.frame = first(rd.frame, Finding{Reason: reason.MergedPayload, Detail: "nft before 1.1 asks whether any of the fields differs"})
		return s.There(m.Left)
	}
	return s.Match(m)
}

// does notes a statement that is no match.
func (rd *reading) does(e effect, s space.Scan) {
	if rd.effect.none() && !e.none() {
		rd.touched = s
	}
	if e.counter && rd.effect.counter {
		e.pinned = Finding{Reason: reason.SideEffect, Detail: "more than one counter"}
	}
	rd.effect = rd.effect.add(e)
	if last := len(rd.runs) - 1; len(rd.runs[last]) > 0 {
		rd.runs = append(rd.runs, nil)
	}
}

// cut notes that a match follows. What was done before is done whatever it comes to.
func (rd *reading) cut() {
	switch {
	case rd.effect.none() || !rd.effect.pinned.None():
	case rd.counted != nil:
		rd.effect.pinned = Finding{Reason: reason.SideEffect, Detail: "more than one counter"}
	default:
		counted := *rd
		counted.end, counted.runs = rd.touched, slices.Clone(rd.runs)
		rd.counted, rd.effect = &counted, effect{}
	}
}

// note keeps the first reasons why a match cannot be made at the hook, and in hardware, which sees frames.
func (rd *reading) note(l look, f func(look) Finding) {
	rd.match = first(rd.match, f(l))
	l.hook = share.XDP
	rd.frame = first(rd.frame, f(l))
}
