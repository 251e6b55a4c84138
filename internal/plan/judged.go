package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/cond"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// judged is the entries of the ingress chains of some devices, in the order of execution, each with what was found out
// about where it may run.
type judged struct {
	devices []string
	on      ability
	entries []*entry
	sets    *cond.Sets
}

// Shares is what runs early on devices that have a hook, as far as programs execute it. What there is in hardware is in
// it, too: what hardware accepts or misses comes to the program.
func (p *Plan) Shares() []share.Share {
	out := []share.Share{}
	for _, j := range p.judged {
		if j.on.tier != Software {
			out = append(out, j.share())
		}
	}
	return out
}

// runs reports whether an entry is one of the share's.
func (e *entry) runs() bool { return e.early.None() && !e.effect.none() && e.flowtable == nil }

func (j *judged) share() share.Share {
	b := &shareBuilder{
		share: share.Share{Hook: j.on.hook(), Devices: slices.Clone(j.devices), Entries: []share.Entry{}, Whole: true},
		sets:  map[*ruleset.Set]int{}, known: j.sets, at: make([]int, len(j.entries)+1),
	}
	if j.on.hidesTags() {
		b.leaveTagged()
	}
	next := 0 // the first entry of the next base chain
	for i, e := range j.entries {
		b.at[i] = len(b.share.Entries)
		if i == next {
			next = nextChain(j.entries, i)
			b.begin(j.entries, i, next)
		}
		switch {
		case e.runs():
			b.add(e, target(e, next), next)
		case !e.effect.none() && !e.space.Empty() && e.flowtable == nil:
			b.share.Whole = false
		}
	}
	if !slices.ContainsFunc(j.entries, (*entry).runs) {
		b.share.Entries, b.to = b.share.Entries[:0], nil // nothing to be careful about
	}
	b.at[len(j.entries)] = len(b.share.Entries)
	b.resolve()
	return b.share
}

// target is the entry at which a packet goes on that leaves at another, before the next base chain.
func target(e *entry, next int) int {
	switch e.effect.ending {
	case accepts:
		return next
	case leaves, decides:
		return e.to
	case goesOn, drops, forwards, unknown:
	}
	return 0
}

// nextChain is the first entry of the base chain behind that of an entry.
func nextChain(all []*entry, i int) int {
	for n := i + 1; n < len(all); n++ {
		if all[n].base != all[i].base {
			return n
		}
	}
	return len(all)
}

// shareBuilder writes the entries of a share.
type shareBuilder struct {
	share share.Share
	known *cond.Sets
	sets  map[*ruleset.Set]int
	// at is where entries of the list that is written are in the share, or the next one behind them. to are the
	// targets of the share's entries in that list.
	at, to []int
}

// add adds an entry, which leads to others: to is where a packet goes that leaves here, next the next base chain.
func (b *shareBuilder) add(e *entry, to, next int) {
	out := share.Entry{Rule: refOf(e), Counter: e.effect.counter, Ending: endingOf(e.effect.ending), Device: e.effect.device, Copy: e.effect.copy}
	for _, c := range e.conds {
		if c.Of != nil {
			c.Set = b.set(c.Of)
		}
		out.Conds = append(out.Conds, c.Cond)
	}
	if e.verdicts != nil {
		out.Map, out.Key, out.AcceptTo = b.set(e.verdicts), e.keys, next
	}
	b.append(out, to)
}

func (b *shareBuilder) append(e share.Entry, to int) {
	b.share.Entries, b.to = append(b.share.Entries, e), append(b.to, to)
}

// set is the number of a named set.
func (b *shareBuilder) set(of *ruleset.Set) int {
	n, ok := b.sets[of]
	if !ok {
		n = len(b.share.Sets)
		b.sets[of] = n
		b.share.Sets = append(b.share.Sets, b.known.Share(of))
	}
	return n
}

// resolve replaces targets by the numbers of entries of the share.
func (b *shareBuilder) resolve() {
	for i := range b.share.Entries {
		switch e := &b.share.Entries[i]; {
		case e.Ending == share.Leaves && e.To == 0:
			e.To = b.at[b.to[i]]
		case e.Ending == share.Maps:
			e.AcceptTo, e.ReturnTo = b.at[e.AcceptTo], b.at[b.to[i]]
		}
	}
}

func refOf(e *entry) share.Ref {
	r := e.ref()
	return share.Ref{Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Number: r.Number}
}

func endingOf(e ending) share.Ending {
	switch e {
	case accepts, leaves:
		return share.Leaves
	case drops:
		return share.Drops
	case forwards:
		return share.Forwards
	case decides:
		return share.Maps
	case goesOn, unknown:
	}
	return share.GoesOn
}
