package bpfgen

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// maxInline is how many intervals a comparison is written out for; longer lists become maps.
const maxInline = 16

// maxWritten is how many intervals of several fields are written out if there is no map for them.
const maxWritten = 500

// Bounds of the values of a word.
const (
	highest64 = ^uint64(0)
)

// ones is the highest value of so many bits.
func ones(bits int) space.Value {
	if bits > 64 {
		return space.Value{Hi: highestOf(bits - 64), Lo: highest64}
	}
	return space.Value{Lo: highestOf(bits)}
}

func highestOf(bits int) uint64 {
	if bits >= 64 {
		return highest64
	}
	return 1<<bits - 1
}

// matcher writes the code of one entry.
type matcher struct {
	*code
	l    *layout
	maps *maps
	next label // where a packet goes that the entry does not match
	// unsure is where one goes of which the program cannot tell; sure is the classes that it was asked for.
	unsure label
	sure   uint32
}

// conds adds the conditions of an entry: a packet that meets them falls through, another goes to next. One for which a
// condition cannot be tested is left to the kernel, unless a condition before it fails or one of the fields is not there.
func (m *matcher) conds(cs []share.Cond) error {
	var all uint32
	for _, c := range cs {
		all |= m.l.bits(c.Fields)
	}
	if all != 0 {
		m.any(atAbsent, all, m.next)
	}
	for i := range cs {
		if err := m.cond(&cs[i]); err != nil {
			return err
		}
	}
	return nil
}

// told leaves the packet if of one of the fields the program cannot tell. Each class is asked for once an entry.
func (m *matcher) told(fs []share.Field) {
	ask := m.l.bits(fs) & m.l.doubtful() &^ m.sure
	if ask != 0 {
		m.any(atDoubt, ask, m.unsure)
		m.sure |= ask
	}
}

func (m *matcher) cond(c *share.Cond) error {
	m.told(c.Fields)
	if c.Named {
		return m.named(c)
	}
	yes := m.label()
	holds, fails := yes, m.next
	if c.Not {
		holds, fails = m.next, yes
	}
	if err := m.literal(c, holds, fails); err != nil {
		return err
	}
	m.bind(yes)
	return nil
}

// literal compares fields with the keys of a condition and goes to in or out. It does not fall through.
func (m *matcher) literal(c *share.Cond, in, out label) error {
	for _, k := range c.Keys {
		if len(k) != len(c.Fields) {
			return fmt.Errorf("compare %d fields with a key of %d: %w", len(c.Fields), len(k), ErrUnsupported)
		}
	}
	if len(c.Fields) == 1 {
		set := literalSet(c)
		if len(set) > maxInline {
			return m.looked(c, in, out)
		}
		m.load(c.Fields[0], asm.R1, asm.R2)
		m.within(set, c.Fields[0].At.Len, in, out)
		return nil
	}
	if len(c.Keys) > maxInline {
		// Not all intervals of several fields fit into a map.
		if err := m.looked(c, in, out); err == nil || len(c.Keys) > maxWritten {
			return err
		}
	}
	for _, k := range c.Keys {
		miss := m.label()
		for i, f := range c.Fields {
			hit := m.label()
			m.load(f, asm.R1, asm.R2)
			m.within(space.Set{k[i]}, f.At.Len, hit, miss)
			m.bind(hit)
		}
		m.goTo(in)
		m.bind(miss)
	}
	m.goTo(out)
	return nil
}

// literalSet is the values that the one field of a condition is compared with.
func literalSet(c *share.Cond) space.Set {
	ivs := make([]space.Interval, 0, len(c.Keys))
	for _, k := range c.Keys {
		ivs = append(ivs, k[0])
	}
	return space.SetOf(ivs)
}

// load loads the masked value of a field: into hi, or into hi and lo where it has two words.
func (m *matcher) load(f share.Field, hi, lo asm.Register) {
	p := m.l.places[spotOf(f)]
	m.add(load(hi, p.at, asm.DWord))
	if p.words == 2 {
		m.add(load(lo, p.at+8, asm.DWord))
		m.mask(hi, f.Mask.Hi, f.At.Len-64)
		m.mask(lo, f.Mask.Lo, 64)
		return
	}
	m.mask(hi, f.Mask.Lo, f.At.Len)
}

func (m *matcher) mask(reg asm.Register, mask uint64, bits int) {
	if mask&highestOf(bits) != highestOf(bits) {
		m.and(reg, mask)
	}
}

// within goes to in if the value in R1 (and R2) is in a set, or to out.
func (c *code) within(set space.Set, bits int, in, out label) {
	switch {
	case len(set) == 0:
		c.goTo(out)
		return
	case len(set) > 3:
		half := len(set) / 2
		upper := c.label()
		c.atLeast(set[half].First, bits, upper)
		c.within(set[:half], bits, in, out)
		c.bind(upper)
		c.within(set[half:], bits, in, out)
		return
	}
	for i, iv := range set {
		miss := out
		if i < len(set)-1 {
			miss = c.label()
		}
		c.one(iv, bits, in, miss)
		if i < len(set)-1 {
			c.bind(miss)
		}
	}
}

// atLeast jumps if the value is not below another; else it falls through.
func (c *code) atLeast(v space.Value, bits int, to label) {
	if bits <= 64 {
		c.jumpIf(asm.JGE, asm.R1, v.Lo, bits, to)
		return
	}
	below := c.label()
	c.jumpIf(asm.JGT, asm.R1, v.Hi, bits-64, to)
	c.jumpIf(asm.JNE, asm.R1, v.Hi, bits-64, below)
	c.jumpIf(asm.JGE, asm.R2, v.Lo, 64, to)
	c.bind(below)
}

// one goes to in if the value is in an interval, or to out.
func (c *code) one(iv space.Interval, bits int, in, out label) {
	if bits <= 64 {
		c.span(asm.R1, iv.First.Lo, iv.Last.Lo, bits, out)
		c.goTo(in)
		return
	}
	if iv.First.Hi == iv.Last.Hi {
		c.span(asm.R1, iv.First.Hi, iv.Last.Hi, bits-64, out)
		c.span(asm.R2, iv.First.Lo, iv.Last.Lo, 64, out)
		c.goTo(in)
		return
	}
	if iv.First.Lo == 0 && iv.Last.Lo == highest64 {
		c.span(asm.R1, iv.First.Hi, iv.Last.Hi, bits-64, out)
		c.goTo(in)
		return
	}
	from := c.label()
	c.atLeast(iv.First, bits, from)
	c.goTo(out)
	c.bind(from)
	c.jumpIf(asm.JLT, asm.R1, iv.Last.Hi, bits-64, in)
	c.jumpIf(asm.JNE, asm.R1, iv.Last.Hi, bits-64, out)
	c.jumpIf(asm.JGT, asm.R2, iv.Last.Lo, 64, out)
	c.goTo(in)
}

// span goes to out unless a word is between two values.
func (c *code) span(reg asm.Register, first, last uint64, bits int, out label) {
	if first == last {
		c.jumpIf(asm.JNE, reg, first, bits, out)
		return
	}
	if first > 0 {
		c.jumpIf(asm.JLT, reg, first, bits, out)
	}
	if last < highestOf(bits) {
		c.jumpIf(asm.JGT, reg, last, bits, out)
	}
}

// named looks the fields up in a set of the ruleset.
func (m *matcher) named(c *share.Cond) error {
	t, err := m.maps.set(c.Set, c.Fields)
	if err != nil {
		return err
	}
	return m.found(t, c.Fields, c.Not)
}

// found goes on if there is an element, or with not if there is none.
func (m *matcher) found(t table, fs []share.Field, not bool) error {
	if !not {
		return m.lookup(t, fs, m.next)
	}
	miss := m.label()
	if err := m.lookup(t, fs, miss); err != nil {
		return err
	}
	m.goTo(m.next)
	m.bind(miss)
	return nil
}

// looked looks the fields up in a map of the keys of a condition.
func (m *matcher) looked(c *share.Cond, in, out label) error {
	t, err := m.maps.literal(c.Fields, c.Keys)
	if err != nil {
		return err
	}
	if err := m.lookup(t, c.Fields, out); err != nil {
		return err
	}
	m.goTo(in)
	return nil
}
