package plan

import (
	"encoding/binary"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// frame is a packet as a program of a share reads it: what TestShares compares with eval. It is written from the
// kernel's code by itself (net/netfilter/nft_payload.c, include/net/netfilter/nf_tables_ipv4.h and _ipv6.h), as slow and
// as plain as can be.
type frame struct {
	data []byte
	net  int    // network header
	typ  uint16 // meta protocol
	l4   bool
	// proto and th are the transport header's; later: the packet has none, being a later fragment.
	proto uint8
	th    int
	later bool
}

// outcome is what reading a field, or testing a condition, comes to.
type outcome int

const (
	fails outcome = iota
	holds
	unclear // leave the packet to the kernel
)

func decode(data []byte) (f frame, ok bool) {
	f = frame{data: data, net: 14}
	if len(data) < f.net {
		return f, false
	}
	f.typ = f.etherType(12)
	if f.typ == 0x8100 || f.typ == 0x88a8 {
		if len(data) < 20 {
			return f, false
		}
		f.net, f.typ = 18, f.etherType(16)
	}
	switch f.typ {
	case 0x0800:
		f.decode4()
	case 0x86dd:
		f.decode6()
	}
	return f, true
}

func (f *frame) etherType(at int) uint16 {
	t := binary.BigEndian.Uint16(f.data[at:])
	switch {
	case t >= 0x600:
		return t
	case len(f.data) >= at+4 && f.data[at+2] == 0xff && f.data[at+3] == 0xff:
		return 1 // ETH_P_802_3
	}
	return 4 // ETH_P_802_2
}

func (f *frame) decode4() {
	h := f.data[f.net:]
	if len(h) < 20 || h[0]>>4 != 4 || h[0]&15 < 5 {
		return
	}
	total, ihl := int(binary.BigEndian.Uint16(h[2:])), int(h[0]&15)*4
	if len(h) < total || total < ihl {
		return
	}
	f.l4, f.proto, f.th = true, h[9], f.net+ihl
	f.later = binary.BigEndian.Uint16(h[6:])&0x1fff != 0
}

func (f *frame) decode6() {
	h := f.data[f.net:]
	if len(h) < 40 || h[0]>>4 != 6 || len(h) < 40+int(binary.BigEndian.Uint16(h[4:])) {
		return
	}
	next, at := h[6], 40
	for {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(h) < at+8 {
				return
			}
			next, at = h[at], at+8+8*int(h[at+1])
		case 44:
			if len(h) < at+8 {
				return
			}
			if binary.BigEndian.Uint16(h[at+2:])&^7 != 0 {
				f.l4, f.proto, f.later = true, h[at], true
				return
			}
			next, at = h[at], at+8
		default:
			f.l4, f.proto, f.th = true, next, f.net+at
			return
		}
	}
}

// read is the bits of a field, or why there are none.
func (f *frame) read(of share.Field) (space.Value, outcome) {
	v, out := f.load(of)
	return v.And(of.Mask), out
}

func (f *frame) load(of share.Field) (space.Value, outcome) {
	base := 0
	switch of.At.Base {
	case space.Beyond:
		return f.known(of.At)
	case space.Link:
	case space.Network:
		base = f.net
	case space.Transport:
		if !f.l4 {
			return space.Value{}, fails
		}
		if f.later {
			return space.Value{}, unclear
		}
		base = f.th
	}
	at := of.At
	end := base + (at.Off+at.Len+7)/8
	if len(f.data) < end {
		if of.Short > 0 && len(f.data) >= base+(at.Off+of.Short+7)/8 {
			return space.Value{}, unclear
		}
		return space.Value{}, fails
	}
	var v space.Value
	for bit := at.Off; bit < at.Off+at.Len; bit++ {
		v = v.ShiftLeft(1)
		if f.data[base+bit/8]>>(7-bit%8)&1 == 1 {
			v.Lo |= 1
		}
	}
	return v, holds
}

func (f *frame) known(at space.Field) (space.Value, outcome) {
	switch at {
	case space.L3Proto():
		return space.Number(uint64(f.typ)), holds
	case space.L4Proto():
		if !f.l4 {
			return space.Value{}, fails
		}
		return space.Number(uint64(f.proto)), holds
	case space.Length():
		return space.Number(uint64(len(f.data) - f.net)), holds
	case space.PacketType():
		switch {
		case f.data[0]&1 == 0:
			return space.Value{}, holds // the test's device has this address
		case string(f.data[:6]) == "\xff\xff\xff\xff\xff\xff":
			return space.Number(1), holds
		}
		return space.Number(2), holds
	}
	return space.Value{}, unclear
}

// test is what a condition comes to.
func (f *frame) test(s *share.Share, c share.Cond) outcome {
	vs, out := f.values(c.Fields)
	if out != holds {
		return out
	}
	met := false
	if c.Named {
		_, met = find(s.Sets[c.Set], vs)
	}
	for _, k := range c.Keys {
		met = met || has(k, vs)
	}
	if met == c.Not {
		return fails
	}
	return holds
}

func (f *frame) values(fields []share.Field) ([]space.Value, outcome) {
	vs := make([]space.Value, len(fields))
	for i, of := range fields {
		v, out := f.read(of)
		if out != holds {
			return nil, out
		}
		vs[i] = v
	}
	return vs, holds
}

func has(k share.Key, vs []space.Value) bool {
	for i, iv := range k {
		if vs[i].Compare(iv.First) < 0 || vs[i].Compare(iv.Last) > 0 {
			return false
		}
	}
	return true
}

func find(s share.Set, vs []space.Value) (share.Elem, bool) {
	for _, e := range s.Elems {
		if has(e.Key, vs) {
			return e, true
		}
	}
	return share.Elem{}, false
}

// executed is what came of a packet.
type executed struct {
	ending  share.Ending // Drops or Forwards
	device  string
	counted []share.Ref
}

// execute goes through a share as package share says; false where the packet is left to the kernel.
func (f *frame) execute(s *share.Share) (executed, bool) {
	var out executed
entries:
	for i := 0; i < len(s.Entries); i++ {
		e := &s.Entries[i]
		for _, c := range e.Conds {
			switch f.test(s, c) {
			case fails:
				continue entries
			case unclear:
				return out, false
			case holds:
			}
		}
		if e.Counter {
			out.counted = append(out.counted, e.Rule)
		}
		switch e.Ending {
		case share.GoesOn:
		case share.Leaves:
			i = e.To - 1
		case share.Unsure:
			return out, false
		case share.Drops, share.Forwards:
			out.ending, out.device = e.Ending, e.Device
			return out, true
		case share.Maps:
			to, ok := f.mapped(s, e, i)
			if !ok {
				return out, false
			}
			if to < 0 {
				out.ending = share.Drops
				return out, true
			}
			i = to - 1
		}
	}
	return out, false
}

// mapped is the entry at which a verdict map goes on; -1: it drops. It is false where that is not to be told.
func (f *frame) mapped(s *share.Share, e *share.Entry, i int) (to int, ok bool) {
	vs, out := f.values(e.Key)
	switch out {
	case unclear:
		return 0, false
	case fails:
		return i + 1, true
	case holds:
	}
	el, found := find(s.Sets[e.Map], vs)
	if !found {
		return i + 1, true
	}
	switch el.Verdict {
	case "drop":
		return -1, true
	case "accept":
		return e.AcceptTo, true
	case "return":
		return e.ReturnTo, true
	case "continue", "jump", "goto":
	}
	return i + 1, true
}
