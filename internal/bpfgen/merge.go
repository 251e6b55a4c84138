package bpfgen

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// ActionMap is an array of what becomes of packets whose entry a lookup has found.
const ActionMap = "actions"

// action is what an entry does, but for its counter.
type action struct {
	ending share.Ending
	device string
	to     int
}

func actionOf(e *share.Entry) action { return action{e.Ending, e.Device, e.To} }

func fieldsID(fs []share.Field) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "%d.%d.%d.%s&%x.%x/%d,", f.At.Base, f.At.Off, f.At.Len, f.At.Name, f.Mask.Hi, f.Mask.Lo, f.Short)
	}
	return b.String()
}

func compareStrings(a, b string) int { return cmp.Compare(a, b) }

// sortGuards puts first what says which packets have the other fields.
func sortGuards(cs []share.Cond) {
	slices.SortStableFunc(cs, func(a, b share.Cond) int { return cmp.Compare(depth(a.Fields), depth(b.Fields)) })
}

// depth is how far into the packet fields are, as far as it matters for whether a program can tell what they are.
func depth(fs []share.Field) int {
	deepest := 0
	for _, f := range fs {
		switch {
		case f.At.Name == nameL4Proto:
			deepest = max(deepest, 1)
		case f.At.Base == space.Transport:
			deepest = max(deepest, 2)
		}
	}
	return deepest
}

// A candidate is twice the place of an entry in its segment, and 1 more where the program cannot tell whether a packet
// matches: then the packet is left to the kernel, unless an earlier entry matches.
const noCandidate = -1 // of 32 bits

// merged writes a segment: one search after another, each for the first entry that matches, as long as it may be before the
// first that was found.
func (g *generator) merged(s segment, ms []member) (*code, error) {
	c := &code{}
	done, none := c.label(), c.label()
	c.add(asm.Mov.Imm32(asm.R1, noCandidate), store(atBest, asm.R1, asm.DWord))
	for i, m := range ms {
		first := 2 * (m.entries[0] - s.first)
		if i > 0 {
			c.add(load(asm.R1, atBest, asm.DWord))
			c.jump(asm.JLT.Imm(asm.R1, int32(first), ""), done)
		}
		if err := g.member(c, s, m); err != nil {
			return nil, err
		}
	}
	c.bind(done)
	c.add(load(asm.R1, atBest, asm.DWord), asm.Mov.Imm32(asm.R2, noCandidate))
	c.jump(asm.JEq.Reg(asm.R1, asm.R2, ""), none)
	c.jump(asm.JSet.Imm(asm.R1, 1, ""), toLeave)
	c.add(asm.RSh.Imm(asm.R1, 1))
	if err := g.act(c, s); err != nil {
		return nil, err
	}
	c.bind(none)
	return c, nil
}

// member writes one search.
func (g *generator) member(c *code, s segment, x member) error {
	m := &matcher{code: c, l: g.layout, maps: g.maps, next: c.label(), unsure: c.label()}
	take := c.label()
	first := int32(2 * (x.entries[0] - s.first))
	if x.table == nil {
		if err := m.conds(g.share.Entries[x.entries[0]].Conds); err != nil {
			return fmt.Errorf("entry %d: %w", x.entries[0], err)
		}
		c.add(asm.Mov.Imm(asm.R1, first))
	} else {
		if err := m.conds(x.guards); err != nil {
			return err
		}
		if b := g.layout.bits(x.fields); b != 0 {
			m.any(atAbsent, b, m.next)
		}
		m.told(x.fields)
		if err := m.lookup(*x.table, x.fields, m.next); err != nil {
			return err
		}
		c.add(asm.LSh.Imm(asm.R1, 1))
	}
	c.goTo(take)
	c.bind(m.unsure)
	c.add(asm.Mov.Imm(asm.R1, first+1))
	c.bind(take)
	c.add(load(asm.R2, atBest, asm.DWord))
	c.jump(asm.JGE.Reg(asm.R1, asm.R2, ""), m.next)
	c.add(store(atBest, asm.R1, asm.DWord))
	c.bind(m.next)
	return nil
}

// act does what the entry says whose place in the segment is in R1. It does not fall through.
func (g *generator) act(c *code, s segment) error {
	var actions []action
	place := map[action]int{}
	counts := 0
	for i := s.first; i < s.end; i++ {
		e := &g.share.Entries[i]
		a := actionOf(e)
		if _, ok := place[a]; !ok {
			place[a] = len(actions)
			actions = append(actions, a)
		}
		if e.Counter {
			counts++
		}
	}
	base := int32(len(g.counters.refs)) + 1
	switch {
	case len(actions) == 1 && counts == 0:
		c.add(asm.Mov.Imm(asm.R1, 0))
	case len(actions) == 1 && counts == s.end-s.first:
		for i := s.first; i < s.end; i++ {
			g.counters.slot(&g.share.Entries[i])
		}
		c.add(asm.Add.Imm(asm.R1, base))
	default:
		g.actions(c, s, place)
	}
	for i, a := range actions {
		next := c.label()
		if i < len(actions)-1 {
			c.jump(asm.JNE.Imm(asm.R2, int32(i), ""), next)
		}
		if err := g.do(c, s, a); err != nil {
			return err
		}
		c.bind(next)
	}
	return nil
}

// actions looks up what to do: R1 is the slot of a counter and 1, or 0, R2 the number of the action.
func (g *generator) actions(c *code, s segment, place map[action]int) {
	for i := s.first; i < s.end; i++ {
		e := &g.share.Entries[i]
		v := binary.NativeEndian.AppendUint32(nil, uint32(g.counters.slot(e)))
		g.maps.act(i, binary.NativeEndian.AppendUint32(v, uint32(place[actionOf(e)])))
	}
	c.add(asm.Add.Imm(asm.R1, int32(s.first)), asm.StoreMem(asm.R10, counterKeyOnStack, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, counterKeyOnStack),
		mapPtr(asm.R1, ActionMap), asm.FnMapLookupElem.Call())
	c.jump(asm.JEq.Imm(asm.R0, 0, ""), toLeave) // cannot be
	c.add(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), asm.LoadMem(asm.R2, asm.R0, 4, asm.Word))
}

// do does what an entry does, with the slot of its counter and 1 in R1, or 0.
func (g *generator) do(c *code, s segment, a action) error {
	switch a.ending {
	case share.Forwards:
		n, err := g.ifindex(a.device)
		if err != nil {
			return err
		}
		c.add(asm.StoreImm(regScratch, atIfindex, int64(n), asm.Word))
		c.goTo(toForward)
	case share.Drops:
		c.goTo(toDrop)
	default:
		c.noteIn(asm.R1)
		m := &matcher{code: c}
		return m.leaveTo(s.end-1, a.to, len(g.share.Entries))
	}
	return nil
}

// noteIn puts a counter on the list of those that count if the packet ends here: its slot and 1 are in a register, or 0.
func (c *code) noteIn(slot asm.Register) {
	none := c.label()
	c.jump(asm.JEq.Imm(slot, 0, ""), none)
	c.add(load(asm.R2, atNoted, asm.Word))
	c.jump(asm.JGE.Imm(asm.R2, maxNotes, ""), toLeave)
	c.add(asm.Sub.Imm(slot, 1),
		asm.Mov.Reg(asm.R3, asm.R2), asm.LSh.Imm(asm.R3, 2), asm.Add.Reg(asm.R3, regScratch),
		asm.StoreMem(asm.R3, atNotes, slot, asm.Word),
		asm.Add.Imm(asm.R2, 1), store(atNoted, asm.R2, asm.Word))
	c.bind(none)
}
