package packet

import (
	"encoding/binary"
	"slices"
)

// Wrong is a set of deliberate mistakes of a Spec.
type Wrong uint8

// The mistakes.
const (
	WrongIPChecksum Wrong = 1 << iota // IPv4 header checksum off by one
	WrongL4Checksum                   // TCP or UDP checksum off by one
	PartialChecksum                   // only the pseudo-header sum, as CHECKSUM_PARTIAL leaves it
	NoChecksum                        // the field is 0: legal for UDP over IPv4 only
)

// Tag is one VLAN tag.
type Tag struct {
	TPID uint16 // EtherTypeVLAN or EtherTypeQinQ
	TCI  uint16 // priority (3 bits), DEI, VLAN id (12 bits)
}

// Extension is one IPv6 extension header.
type Extension struct {
	Proto uint8 // its own number: 0 hop-by-hop, 43 routing, 44 fragment, 60 destination options
	// Body is the header from its third byte on; it is padded with zeros (Pad1 options) to a multiple of 8 bytes
	// with the two that Build puts in front. For a fragment header it is offset, flags and identification (6 bytes).
	Body []byte
}

// Spec describes one frame. New fills in what a usual packet has; a test changes what it is about, and Build
// writes exactly that, mistakes included.
type Spec struct {
	Dst, Src  MAC
	Tags      []Tag  // outermost first
	EtherType uint16 // 0: that of the tuple's family

	Tuple Tuple
	TOS   uint8 // IPv4 TOS or IPv6 traffic class: DSCP<<2 | ECN
	TTL   uint8 // or hop limit

	ID         uint16 // IPv4
	DF, MF     bool   // IPv4
	Reserved   bool   // IPv4, the highest flag bit
	FragOffset uint16 // IPv4, units of 8 bytes; with an offset no L4 header is written, only Payload
	Options    []byte // IPv4, padded with zeros (end of options) to a multiple of 4

	FlowLabel  uint32      // IPv6, 20 bits
	Extensions []Extension // IPv6, outermost first

	Flags      TCPFlags
	Seq, Ack   uint32
	Window     uint16
	Urgent     uint16
	TCPOptions []byte // padded with zeros (end of options) to a multiple of 4

	Payload []byte
	Trailer []byte // behind the end of the IP packet

	Wrong       Wrong
	Version     uint8 // 0: right; else the version nibble
	IHL         uint8 // 0: right; else in words of 4 bytes
	DataOffset  uint8 // 0: right; else in words of 4 bytes
	ReservedTCP uint8 // the 4 bits beside the data offset; the lowest is AE (RFC 9768)
	LenDelta    int   // added to the IP length field
	UDPLenDelta int   // added to the UDP length field
}

// New returns the Spec of a usual packet of the tuple: TTL 64, DF and a right checksum; TCP is ACK|PSH in a window
// of 502.
func New(t Tuple, payload []byte) Spec {
	s := Spec{Tuple: t, TTL: 64, DF: true, Payload: payload}
	if t.Proto == TCP {
		s.Flags, s.Window, s.Seq, s.Ack = ACK|PSH, 502, 1, 1
	}
	return s
}

// Build returns the frame, without a frame check sequence.
func (s Spec) Build() []byte {
	l4 := s.l4()
	var b []byte
	b = append(b, s.Dst[:]...)
	b = append(b, s.Src[:]...)
	for _, t := range s.Tags {
		b = binary.BigEndian.AppendUint16(b, t.TPID)
		b = binary.BigEndian.AppendUint16(b, t.TCI)
	}
	if s.Tuple.Is4() {
		b = binary.BigEndian.AppendUint16(b, or(s.EtherType, EtherTypeIPv4))
		b = append(b, s.ip4(len(l4))...)
	} else {
		b = binary.BigEndian.AppendUint16(b, or(s.EtherType, EtherTypeIPv6))
		b = append(b, s.ip6(len(l4))...)
	}
	b = append(b, l4...)
	return append(b, s.Trailer...)
}

func (s Spec) ip4(l4Len int) []byte {
	options := pad(s.Options, 4)
	h := IPv4(make([]byte, IPv4Len+len(options)))
	copy(h[IPv4Len:], options)
	h[ip4VersionIHL] = or(s.Version, 4)<<4 | or(s.IHL, uint8(len(h)/4))&0xf
	h[ip4TOS] = s.TOS
	binary.BigEndian.PutUint16(h[ip4TotalLen:], uint16(len(h)+l4Len+s.LenDelta))
	binary.BigEndian.PutUint16(h[ip4ID:], s.ID)
	frag := s.FragOffset & ip4OffsetMask
	for _, f := range []struct {
		on  bool
		bit uint16
	}{{s.Reserved, ip4Reserved}, {s.DF, ip4DF}, {s.MF, ip4MF}} {
		if f.on {
			frag |= f.bit
		}
	}
	binary.BigEndian.PutUint16(h[ip4Frag:], frag)
	h[ip4TTL] = s.TTL
	h[ip4Proto] = s.Tuple.Proto
	src, dst := s.Tuple.Src.Addr().As4(), s.Tuple.Dst.Addr().As4()
	copy(h[ip4Src:], src[:])
	copy(h[ip4Dst:], dst[:])
	c := Checksum(h)
	if s.Wrong&WrongIPChecksum != 0 {
		c++
	}
	h.setChecksum(c)
	return h
}

func (s Spec) ip6(l4Len int) []byte {
	next := s.Tuple.Proto
	var ext []byte
	for _, x := range slices.Backward(s.Extensions) {
		e := pad(append([]byte{next, 0}, x.Body...), 8)
		if x.Proto != protoFragment { // its second byte is reserved, not a length
			e[1] = uint8(len(e)/8 - 1)
		}
		ext = append(e, ext...)
		next = x.Proto
	}
	h := make(IPv6, IPv6Len)
	binary.BigEndian.PutUint32(h[ip6Flow:], uint32(or(s.Version, 6))<<28|uint32(s.TOS)<<20|s.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(h[ip6PayloadLen:], uint16(len(ext)+l4Len+s.LenDelta))
	h[ip6Next] = next
	h[ip6HopLimit] = s.TTL
	src, dst := s.Tuple.Src.Addr().As16(), s.Tuple.Dst.Addr().As16()
	copy(h[ip6Src:], src[:])
	copy(h[ip6Dst:], dst[:])
	return append(h, ext...)
}

// l4 returns the L4 header and the payload; later fragments and unknown protocols are payload only.
func (s Spec) l4() []byte {
	at, ok := checksumOffset(s.Tuple.Proto)
	if !ok || s.FragOffset != 0 {
		return s.Payload
	}
	var b []byte
	if s.Tuple.Proto == TCP {
		b = s.tcp()
	} else {
		b = s.udp()
	}
	src, dst := s.Tuple.Src.Addr(), s.Tuple.Dst.Addr()
	c := L4Checksum(src, dst, s.Tuple.Proto, b)
	switch {
	case s.Wrong&NoChecksum != 0:
		c = 0
	case s.Wrong&PartialChecksum != 0:
		c = fold(pseudo(src, dst, s.Tuple.Proto, len(b)))
	case s.Wrong&WrongL4Checksum != 0:
		if c++; c == 0 {
			c = 1 // 0 would mean "none", 0xffff and 0 the same sum
		}
	}
	binary.BigEndian.PutUint16(b[at:], c)
	return b
}

func (s Spec) tcp() []byte {
	options := pad(s.TCPOptions, 4)
	h := make([]byte, TCPLen, TCPLen+len(options)+len(s.Payload))
	binary.BigEndian.PutUint16(h[l4SrcPort:], s.Tuple.Src.Port())
	binary.BigEndian.PutUint16(h[l4DstPort:], s.Tuple.Dst.Port())
	binary.BigEndian.PutUint32(h[tcpSeq:], s.Seq)
	binary.BigEndian.PutUint32(h[tcpAck:], s.Ack)
	h[tcpOffset] = or(s.DataOffset, uint8((TCPLen+len(options))/4))<<4 | s.ReservedTCP&0xf
	h[tcpFlags] = uint8(s.Flags)
	binary.BigEndian.PutUint16(h[tcpWindow:], s.Window)
	binary.BigEndian.PutUint16(h[tcpUrgent:], s.Urgent)
	return append(append(h, options...), s.Payload...)
}

func (s Spec) udp() []byte {
	h := make([]byte, UDPLen, UDPLen+len(s.Payload))
	binary.BigEndian.PutUint16(h[l4SrcPort:], s.Tuple.Src.Port())
	binary.BigEndian.PutUint16(h[l4DstPort:], s.Tuple.Dst.Port())
	binary.BigEndian.PutUint16(h[udpLength:], uint16(UDPLen+len(s.Payload)+s.UDPLenDelta))
	return append(h, s.Payload...)
}

// or returns v, or the default for zero.
func or[T uint8 | uint16](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// pad returns a copy of b with zeros up to a multiple of n bytes.
func pad(b []byte, n int) []byte {
	out := make([]byte, (len(b)+n-1)/n*n)
	copy(out, b)
	return out
}
