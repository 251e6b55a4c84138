package plan

import (
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// This file is the rule that keeps offload from changing a verdict. Entries are judged in the order in which the kernel
// executes them. One may run early only if each entry before it
//
//   - matches no packet that this one matches, or
//   - runs at the same tier or an earlier one, or
//   - does nothing that anybody could notice, or may change places with it.
//
// It follows that a packet that an early entry decides about was not touched by any entry before it, neither early nor in
// software. So it is no matter that entries in between change fields: spaces are those of the packet as it came in.

// judge goes through the entries of one device.
type judge struct {
	late [2]index // entries that are not executed at the device's hook, or not in hardware
	// early are those in hardware, which does not read packets quite as the kernel does: it may miss a packet of one
	// entry, which then comes to the next.
	early index
}

const (
	atHook = iota
	atHardware
)

// soft is why an entry must not be executed at the hook.
func (j *judge) soft(e *entry) Finding { return blocked(&j.late[atHook], e) }

// hw is why an entry must not be executed in hardware.
func (j *judge) hw(e *entry) Finding {
	if f := blocked(&j.late[atHardware], e); !f.None() {
		return f
	}
	var f Finding
	miss := func(o *entry) bool {
		if o.base != e.base && !o.effect.final() || o.effect.commutes(e.effect) || space.Disjoint(o.space, e.space) || readAlike(o, e) {
			return false
		}
		f = Finding{
			Reason: reason.EarlierRuleNotDisjoint, Rule: o.ref(),
			Detail: "which hardware may miss: behind VLAN tags, in fragments, behind IPv6 extension headers",
		}
		return true
	}
	if !j.early.overlapping(e.space, miss) && f.None() {
		return tooMany()
	}
	return f
}

// add notes an entry that was judged.
func (j *judge) add(e *entry) {
	if e.effect.none() || e.space.Empty() {
		return
	}
	if e.hardware.None() {
		j.early.add(e)
	} else {
		j.late[atHardware].add(e)
	}
	// What hardware accepts or misses comes to the program at the hook, too.
	if !e.early.None() {
		j.late[atHook].add(e)
	}
}

// blocked is the first entry that has to be executed before another, and is not.
func blocked(late *index, e *entry) Finding {
	var f Finding
	complete := late.overlapping(e.space, func(o *entry) bool {
		if o.base != e.base && !o.effect.reaches() || o.effect.commutes(e.effect) || space.Disjoint(o.space, e.space) {
			return false
		}
		f = Finding{Reason: reason.EarlierRuleNotDisjoint, Rule: o.ref()}
		switch {
		case o.effect.ending == unknown:
			f.Reason = reason.EarlierRuleOpaque
		case o.base != e.base:
			f.Reason = reason.EarlierChain
		}
		return true
	})
	if f.None() && !complete {
		return tooMany()
	}
	return f
}

func tooMany() Finding {
	return Finding{Reason: reason.EarlierRuleNotDisjoint, Detail: "too many earlier rules to compare with each"}
}

// reaches reports whether an effect matters to other base chains: accept and return do not.
func (e effect) reaches() bool {
	return e.counter || e.copy != "" || !e.pinned.None() || e.final() || e.ending == unknown || e.ending == decides
}

// readAlike reports whether hardware that misses a packet of an entry, because it does not find a header in it, misses
// it for the other entry as well: that one needs the same headers, or more.
func readAlike(early, later *entry) bool {
	a, b := structure(early.space), structure(later.space)
	if a.vlan != b.vlan || a.depth > b.depth {
		return false
	}
	return a.depth < readsNetwork || a.l3 == b.l3 && (a.depth < readsProtocol || a.l4 == b.l4)
}

// headers are those that hardware has to find for a rule.
type headers struct {
	depth  int
	vlan   bool
	l3, l4 space.Value
}

// How far into the packet a rule reads.
const (
	readsLink = iota
	readsNetwork
	readsProtocol
	readsTransport
)

func structure(s space.Space) headers {
	var h headers
	for _, c := range s.Constraints() {
		v, single := c.In.Single()
		switch {
		case c.Field.Base == space.Transport:
			h.depth = readsTransport
		case c.Field == space.L4Proto():
			h.depth = max(h.depth, readsProtocol)
			if single {
				h.l4 = v
			}
		case c.Field == space.L3Proto():
			h.depth = max(h.depth, readsNetwork)
			if single {
				h.l3 = v
			}
		case c.Field.Base == space.Network:
			h.depth = max(h.depth, readsNetwork)
		case c.Field.Base == space.Link && c.Field.Off >= vlanAt:
			h.vlan = true
		}
	}
	return h
}

// vlanAt is where the tag is in an Ethernet header, in bits.
const vlanAt = 112
