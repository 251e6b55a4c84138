package eval

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// mangle compiles an assignment. Later rules see what it wrote.
func (c *compiler) mangle(m ruleset.Mangle) error {
	var target operand
	var err error
	switch m.Key.(type) {
	case ruleset.Payload, ruleset.RawPayload, ruleset.Meta, ruleset.CT, ruleset.Option, ruleset.Exthdr:
		target, err = c.expression(m.Key, dtype{})
	default:
		return fmt.Errorf("assign to %T: %w", m.Key, errNotKnown)
	}
	if err != nil {
		return err
	}
	value, err := c.operandOf(m.Value, target.types[0])
	if err != nil {
		return err
	}
	store := c.store(m.Key, target.types[0])
	c.emit(func(r *run) status {
		v, st := value.load(r)
		if st != known {
			return st
		}
		return store(r, v)
	})
	return nil
}

// store returns what writes a value.
func (c *compiler) store(key ruleset.Expr, d dtype) func(*run, []byte) status {
	switch k := key.(type) {
	case ruleset.Meta:
		return func(r *run, v []byte) status { return r.storeMeta(k.Key, v) }
	case ruleset.CT:
		return func(r *run, v []byte) status { return r.storeCT(k.Key, v) }
	case ruleset.Payload:
		fd := fields(k.Proto)[k.Field]
		return func(r *run, v []byte) status { return r.storeField(k.Proto, k.Field, fd, v) }
	case ruleset.RawPayload:
		fd := field{k.Base, k.Offset, d}
		return func(r *run, v []byte) status { return r.storeField("", "", fd, v) }
	}
	return func(r *run, _ []byte) status { return r.missing(FactOpaque, "assignment to an option") }
}

func (r *run) storeMeta(key string, v []byte) status {
	switch key {
	case "mark":
		r.p.Mark = uint32(toUint(v))
	case "priority":
		r.p.Priority = uint32(toUint(v))
	case "pkttype":
		t := uint8(toUint(v))
		if now, ok := r.pktType(); ok && now == pktLoopback {
			return known
		}
		r.p.Type = &t
	}
	return known
}

// pktLoopback is PACKET_LOOPBACK, which `meta pkttype set` leaves as it is.
const pktLoopback = 5

// storeCT writes to the entry, where there is one (nft_ct_set_eval).
func (r *run) storeCT(key string, v []byte) status {
	if !r.tracked || r.untracked {
		return known
	}
	if r.ct == nil {
		return r.missing(FactConntrack, "ct "+key)
	}
	if !r.ct.entry() {
		return known
	}
	ct := *r.ct
	switch key {
	case "mark":
		m := uint32(toUint(v))
		ct.Mark = &m
	case "label":
		var l [16]byte
		if ct.Labels != nil {
			l = *ct.Labels
		}
		for i := range l {
			l[i] |= v[i]
		}
		ct.Labels = &l
	}
	r.ct = &ct
	return known
}

// storeField writes bits of the packet and mends the checksums that nft tells the kernel about (nft_payload_set_eval).
func (r *run) storeField(proto, name string, f field, v []byte) status {
	s := r.s
	base, ok := s.base(f.base)
	if !ok {
		return broke
	}
	first, last := f.offset/8, (f.offset+f.typ.bits+7)/8
	// Checksums are over words of two bytes.
	from, to := base+first&^1, base+(last+1)&^1
	if from < 0 || to > len(s.data) {
		return broke
	}
	below := last*8 - f.offset - f.typ.bits
	n := last - first
	bits := append(make([]byte, n-min(n, len(v))), v...)
	bits = shift(bits[len(bits)-n:], below, true)
	mask := shift(cutBits(filled(n), f.typ.bits), below, true)
	written := slices.Clone(s.data[from:to])
	for i := range n {
		at := base + first + i - from
		written[at] = written[at]&^mask[i] | bits[i]&mask[i]
	}
	// The kernel mends first. A packet that ends before its checksum is left as it is.
	if !r.mend(proto, name, f.base, sumWords(s.data[from:to]), sumWords(written)) {
		return broke
	}
	copy(s.data[base+first:base+last], written[base+first-from:])
	return known
}

func filled(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// mend adjusts the checksums a written field is part of. It fails where one is not in the packet.
func (r *run) mend(proto, name, base string, before, after uint32) bool {
	const ip4Checksum = 10
	s := r.s
	if proto == "ip" && !s.adjust(s.net+ip4Checksum, before, after) {
		return false
	}
	l4, ok := s.checksumAt()
	pseudo := (proto == "ip" || proto == "ip6") && (name == "saddr" || name == "daddr" || name == "protocol" || name == "nexthdr")
	switch {
	case pseudo && ok:
		return s.adjust(l4, before, after)
	case base == "th":
		if at, ok := checksumOf(proto); ok {
			return s.adjust(s.th+at, before, after)
		}
	}
	return true
}

// checksumAt is where a checksum is that covers the addresses (nft_payload_l4csum_offset).
func (s *skb) checksumAt() (int, bool) {
	if !s.l4 || s.fragOff != 0 {
		return 0, false
	}
	switch s.proto {
	case protoTCP:
		return s.th + 16, true
	case protoUDP:
		h, ok := s.bytes(s.th, packet.UDPLen)
		return s.th + 6, ok && (h[6] != 0 || h[7] != 0)
	case protoUDPLite:
		return s.th + 6, true
	case protoICMPv6:
		return s.th + 2, true
	}
	return 0, false
}

// checksumOf is the offset of the checksum in a transport header that nft mends when a field of it is written.
func checksumOf(proto string) (int, bool) {
	switch proto {
	case "tcp":
		return 16, true
	case "udp", "udplite":
		return 6, true
	case "icmp", "icmpv6", "igmp":
		return 2, true
	}
	return 0, false
}

func sumWords(b []byte) uint32 {
	var n uint32
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(b[i])<<8 | uint32(b[i+1])
	}
	return n
}

// adjust replaces words in a checksum (nft_csum_replace); 0 is written as 0xffff.
func (s *skb) adjust(at int, before, after uint32) bool {
	b, ok := s.bytes(at, 2)
	if !ok {
		return false
	}
	fold := func(n uint64) uint64 {
		for n>>16 != 0 {
			n = n&0xffff + n>>16
		}
		return n
	}
	sum := fold(uint64(^uint16(toUint(b)))) + 0xffff - fold(uint64(before)) + fold(uint64(after))
	check := ^uint16(fold(sum))
	if check == 0 {
		check = 0xffff
	}
	copy(b, uintBytes(uint64(check), 2))
	return true
}
