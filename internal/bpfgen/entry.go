package bpfgen

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Data of the elements of a verdict map.
const (
	dataAccept uint32 = 1 + iota
	dataDrop
	dataReturn
	dataContinue
)

// VerdictData is what stands in a map for a verdict of a verdict map's element; false where a map may not have it.
func VerdictData(v ruleset.VerdictKind) (uint32, bool) {
	switch v {
	case ruleset.Accept:
		return dataAccept, true
	case ruleset.Drop:
		return dataDrop, true
	case ruleset.Return:
		return dataReturn, true
	case ruleset.Continue:
		return dataContinue, true
	default:
		return 0, false
	}
}

// counters gives out the slots of CounterMap.
type counters struct{ refs []share.Ref }

// slot is a new slot and 1, or 0 for an entry that does not count.
func (c *counters) slot(e *share.Entry) int32 {
	if !e.Counter {
		return 0
	}
	c.refs = append(c.refs, e.Rule)
	return int32(len(c.refs))
}

// entry writes the code of an entry. It falls through where the next entry is to follow.
func (g *generator) entry(i int) (*code, error) {
	e := &g.share.Entries[i]
	m := &matcher{code: &code{}, l: g.layout, maps: g.maps, unsure: toLeave}
	m.next = m.label()
	if err := m.conds(e.Conds); err != nil {
		return nil, err
	}
	if err := g.ending(m, i); err != nil {
		return nil, err
	}
	m.bind(m.next)
	return m.code, nil
}

func (g *generator) ending(m *matcher, i int) error {
	e := &g.share.Entries[i]
	slot := g.counters.slot(e)
	if e.Copy != "" {
		if err := g.copy(m, e.Copy); err != nil {
			return err
		}
	}
	switch e.Ending {
	case share.GoesOn:
		m.note(slot)
	case share.Leaves:
		m.note(slot)
		return m.leaveTo(i, e.To, len(g.share.Entries))
	case share.Drops:
		m.add(asm.Mov.Imm(asm.R1, slot))
		m.goTo(toDrop)
	case share.Forwards:
		ifindex, err := g.ifindex(e.Device)
		if err != nil {
			return err
		}
		m.add(asm.StoreImm(regScratch, atIfindex, int64(ifindex), asm.Word), asm.Mov.Imm(asm.R1, slot))
		m.goTo(toForward)
	case share.Unsure:
		m.goTo(toLeave)
	case share.Maps:
		m.note(slot)
		return m.verdictMap(i, e, len(g.share.Entries))
	}
	return nil
}

// copy puts a device on the list of those that a copy is sent out of if the packet ends here.
func (g *generator) copy(m *matcher, device string) error {
	if g.share.Hook != share.TC {
		return fmt.Errorf("copy to %s at %s: %w", device, g.share.Hook, ErrUnsupported)
	}
	n, err := g.ifindex(device)
	if err != nil {
		return err
	}
	m.add(load(asm.R1, atCopied, asm.Word))
	m.jump(asm.JGE.Imm(asm.R1, maxCopies, ""), toLeave)
	m.add(asm.Mov.Reg(asm.R2, asm.R1), asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(asm.R2, regScratch),
		asm.StoreImm(asm.R2, atCopies, int64(n), asm.Word),
		asm.Add.Imm(asm.R1, 1), store(atCopied, asm.R1, asm.Word))
	g.copies = true
	return nil
}

func (g *generator) ifindex(device string) (uint32, error) {
	n, ok := g.opts.Ifindex[device]
	if !ok || n == 0 {
		return 0, fmt.Errorf("forward to %s: there is no such device", device)
	}
	return n, nil
}

// leaveTo goes on at an entry behind another.
func (m *matcher) leaveTo(from, to, end int) error {
	if to <= from || to > end {
		return fmt.Errorf("leave entry %d to entry %d of %d: %w", from, to, end, ErrUnsupported)
	}
	m.goTo(entryLabel(to))
	return nil
}

// note puts a counter on the list of those that count if the packet ends here.
func (m *matcher) note(slot int32) {
	if slot == 0 {
		return
	}
	m.add(load(asm.R1, atNoted, asm.Word))
	m.jump(asm.JGE.Imm(asm.R1, maxNotes, ""), toLeave)
	m.add(asm.Mov.Reg(asm.R2, asm.R1), asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(asm.R2, regScratch),
		asm.StoreImm(asm.R2, atNotes, int64(slot-1), asm.Word),
		asm.Add.Imm(asm.R1, 1), store(atNoted, asm.R1, asm.Word))
}

// verdictMap does what the element says that has the packet's key.
func (m *matcher) verdictMap(i int, e *share.Entry, end int) error {
	t, err := m.maps.set(e.Map, e.Key)
	if err != nil {
		return err
	}
	if b := m.l.bits(e.Key); b != 0 {
		m.any(atAbsent, b, m.next)
	}
	m.told(e.Key)
	if err := m.lookup(t, e.Key, m.next); err != nil {
		return err
	}
	m.add(asm.Mov.Reg(asm.R2, asm.R1), asm.Mov.Imm(asm.R1, 0))
	m.jump(asm.JEq.Imm(asm.R2, int32(dataContinue), ""), m.next)
	m.jump(asm.JEq.Imm(asm.R2, int32(dataDrop), ""), toDrop)
	other := m.label()
	m.jump(asm.JNE.Imm(asm.R2, int32(dataAccept), ""), other)
	if err := m.leaveTo(i, e.AcceptTo, end); err != nil {
		return err
	}
	m.bind(other)
	m.jump(asm.JNE.Imm(asm.R2, int32(dataReturn), ""), toLeave)
	return m.leaveTo(i, e.ReturnTo, end)
}
