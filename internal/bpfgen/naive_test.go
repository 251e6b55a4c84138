package bpfgen

import (
	"encoding/binary"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// This file executes shares in the slowest and plainest way: what programs are compared with.

type status int

const (
	there status = iota
	absent
	doubt
)

// frame is a packet as a field sees it. The outer tag is in the bytes.
type frame struct {
	hook     share.Hook
	data     []byte
	net      int
	protocol uint16
	length   bool // behind the tag
	l4       status
	proto    uint8
	th       int
	header   status // of the transport header
}

func number16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

// arrive is nil for frames that are left to the kernel unseen.
func arrive(hook share.Hook, data []byte) *frame {
	if len(data) < 14 {
		return nil
	}
	f := &frame{hook: hook, data: data, net: 14, protocol: number16(data, 12)}
	if f.protocol == 0x8100 || f.protocol == 0x88a8 {
		if len(data) < 20 {
			return nil
		}
		f.net, f.protocol = 18, number16(data, 16)
	}
	f.length = f.protocol < 0x600 && f.net == 18
	if f.protocol < 0x600 {
		f.protocol = 4
		if len(data) >= f.net+2 && number16(data, f.net) == 0xffff {
			f.protocol = 1
		}
	}
	if f.length && hook == share.TC { // where the kernel puts the protocol
		f.data = slices.Clone(data)
		binary.BigEndian.PutUint16(f.data[16:], f.protocol)
	}
	f.l4, f.header = absent, absent
	h := data[f.net:]
	switch {
	case f.protocol == 0x800 && len(h) >= 20:
		ihl, total := 4*int(h[0]&15), int(number16(h, 2))
		if h[0]>>4 != 4 || ihl < 20 || total > len(h) || total < ihl {
			break
		}
		f.l4, f.header, f.proto, f.th = there, there, h[9], f.net+ihl
		if number16(h, 6)&0x1fff != 0 {
			f.header = doubt
		}
	case f.protocol == 0x86dd && len(h) >= 40:
		if h[0]>>4 != 6 || 40+int(number16(h, 4)) > len(h) {
			break
		}
		f.walk(h)
	}
	return f
}

func (f *frame) walk(h []byte) {
	extension := []byte{0, 43, 44, 51, 60}
	next, at := h[6], 40
	for range maxHeaders {
		if f.net+at > maxTransport {
			break
		}
		if !slices.Contains(extension, next) || next == 51 && len(h) >= at+2 {
			f.l4, f.header, f.proto, f.th = there, there, next, f.net+at
			return
		}
		if len(h) < at+2 || (next == 43 || next == 44) && len(h) < at+4 {
			return
		}
		n := 8 + 8*int(h[at+1])
		if next == 44 {
			n = 8
			if number16(h, at+2)&^7 != 0 {
				if slices.Contains(extension, h[at]) {
					return
				}
				f.l4, f.header, f.proto = there, doubt, h[at]
				return
			}
		}
		next = h[at]
		at += n
	}
	f.l4, f.header = doubt, doubt
}

func (f *frame) load(x share.Field) (space.Value, status) {
	a := x.At
	base := 0
	switch a.Base {
	case space.Network:
		base = f.net
	case space.Transport:
		if f.header != there {
			return space.Value{}, f.header
		}
		base = f.th
	case space.Link:
	case space.Beyond:
		switch a.Name {
		case "meta protocol":
			return masked(space.Number(uint64(f.protocol)), x.Mask), there
		case "meta length":
			return masked(space.Number(uint64(len(f.data)-f.net)), x.Mask), there
		case "meta l4proto":
			return masked(space.Number(uint64(f.proto)), x.Mask), f.l4
		}
		return f.addressed()
	}
	if base+(a.Off+a.Len+7)/8 > len(f.data) {
		if x.Short > 0 && base+(a.Off+x.Short+7)/8 <= len(f.data) {
			return space.Value{}, doubt
		}
		return space.Value{}, absent
	}
	var v space.Value
	for i := range a.Len {
		bit := base*8 + a.Off + i
		one := uint64(f.data[bit/8]>>(7-bit%8)) & 1
		v.Hi = v.Hi<<1 | v.Lo>>63
		v.Lo = v.Lo<<1 | one
	}
	return masked(v, x.Mask), there
}

func (f *frame) addressed() (space.Value, status) {
	switch {
	case f.hook == share.TC && f.data[0]&1 != 0: // the broadcast address of BPF_PROG_TEST_RUN's device is another one
		return space.Number(2), there
	case slices.Equal(f.data[:6], []byte{255, 255, 255, 255, 255, 255}):
		return space.Number(1), there
	case f.data[0]&1 != 0:
		return space.Number(2), there
	case f.hook == share.XDP:
		return space.Value{}, doubt
	}
	return space.Number(3), there // the device of BPF_PROG_TEST_RUN has no address that frames here have
}

func masked(v, m space.Value) space.Value { return space.Value{Hi: v.Hi & m.Hi, Lo: v.Lo & m.Lo} }

// key loads fields: all there, one absent, or none absent and one in doubt.
func (f *frame) key(fs []share.Field) ([]space.Value, status) {
	var vs []space.Value
	st := there
	for _, x := range fs {
		v, s := f.load(x)
		vs = append(vs, v)
		if s == absent || s == doubt && st == there {
			st = s
		}
	}
	return vs, st
}

func hasKey(k share.Key, vs []space.Value) bool {
	for i, v := range vs {
		if v.Compare(k[i].First) < 0 || v.Compare(k[i].Last) > 0 {
			return false
		}
	}
	return true
}

// result is what becomes of a packet.
type result struct {
	what    string // "drop", "forward", "end", "leave"
	device  string
	counted []int // entries
}

// behindTag reports whether a share reads the link header behind a tag.
func behindTag(s *share.Share) bool {
	behind := func(x share.Field) bool { return x.At.Base == space.Link && x.At.Off+x.At.Len > 128 }
	return slices.ContainsFunc(s.Entries, func(e share.Entry) bool {
		return slices.ContainsFunc(e.Key, behind) || slices.ContainsFunc(e.Conds, func(c share.Cond) bool { return slices.ContainsFunc(c.Fields, behind) })
	})
}

// execute goes through the entries.
func (f *frame) execute(s *share.Share) result {
	if f == nil || f.hook == share.XDP && f.length && behindTag(s) {
		return result{what: "leave"}
	}
	var r result
	for i := 0; i < len(s.Entries); {
		e := &s.Entries[i]
		i++
		switch f.matches(s, e) {
		case absent:
			continue
		case doubt:
			return result{what: "leave"}
		case there:
		}
		if e.Counter {
			r.counted = append(r.counted, i-1)
		}
		switch e.Ending {
		case share.GoesOn:
		case share.Leaves:
			i = e.To
		case share.Unsure:
			return result{what: "leave"}
		case share.Drops:
			return r.ends("drop", "")
		case share.Forwards:
			return r.ends("forward", e.Device)
		case share.Maps:
			to, what := f.mapped(s, e, i)
			if what != "" {
				return r.ends(what, "")
			}
			i = to
		}
	}
	return result{what: "end"}
}

func (r result) ends(what, device string) result {
	if what == "leave" || len(r.counted) > 32 {
		return result{what: "leave"}
	}
	r.what, r.device = what, device
	return r
}

// matches says there if all conditions hold.
func (f *frame) matches(s *share.Share, e *share.Entry) status {
	for _, c := range e.Conds { // a field that is not there decides, wherever it stands
		if _, st := f.key(c.Fields); st == absent {
			return absent
		}
	}
	for _, c := range e.Conds {
		vs, st := f.key(c.Fields)
		if st == doubt {
			return doubt
		}
		if f.holds(s, &c, vs) == c.Not {
			return absent
		}
	}
	return there
}

func (f *frame) holds(s *share.Share, c *share.Cond, vs []space.Value) bool {
	if c.Named {
		return slices.ContainsFunc(s.Sets[c.Set].Elems, func(e share.Elem) bool { return hasKey(e.Key, vs) })
	}
	return slices.ContainsFunc(c.Keys, func(k share.Key) bool { return hasKey(k, vs) })
}

func (f *frame) mapped(s *share.Share, e *share.Entry, next int) (int, string) {
	vs, st := f.key(e.Key)
	switch st {
	case absent:
		return next, ""
	case doubt:
		return 0, "leave"
	case there:
	}
	for _, el := range s.Sets[e.Map].Elems {
		if hasKey(el.Key, vs) {
			switch el.Verdict {
			case ruleset.Drop:
				return 0, "drop"
			case ruleset.Accept:
				return e.AcceptTo, ""
			case ruleset.Return:
				return e.ReturnTo, ""
			default:
				return next, ""
			}
		}
	}
	return next, ""
}

// doubtful reports whether of one of the fields that a share reads nothing can be told.
func (f *frame) doubtful(s *share.Share) bool {
	return f != nil && slices.ContainsFunc(s.Entries, func(e share.Entry) bool {
		return slices.ContainsFunc(e.Conds, func(c share.Cond) bool {
			return slices.ContainsFunc(c.Fields, func(x share.Field) bool {
				_, st := f.load(x)
				return st == doubt
			})
		})
	})
}
