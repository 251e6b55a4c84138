package packet

import (
	"encoding/binary"
	"net/netip"
)

// sum adds the 16-bit big-endian words of b to s; an odd last byte counts as the high half of a word (RFC 1071).
func sum(b []byte, s uint64) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold adds the carries back until 16 bits are left.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// Checksum returns the Internet checksum of b: the complement of its ones' complement sum (RFC 1071).
// Over bytes that hold their own correct checksum it is 0.
func Checksum(b []byte) uint16 { return ^fold(sum(b, 0)) }

// pseudo returns the sum of the IPv4 or IPv6 pseudo header; length is that of the L4 header and payload, bytes.
func pseudo(src, dst netip.Addr, proto uint8, length int) uint64 {
	s := uint64(proto) + uint64(length)>>16 + uint64(length)&0xffff
	if src.Is4() {
		a, b := src.As4(), dst.As4()
		return sum(b[:], sum(a[:], s))
	}
	a, b := src.As16(), dst.As16()
	return sum(b[:], sum(a[:], s))
}

// L4Checksum returns the TCP or UDP checksum of segment (L4 header and payload) as it has to be for its checksum
// field's present value to be replaced; the field itself is left out of the sum. For UDP a result of 0 is given
// as 0xffff, because 0 means "no checksum" (RFC 768).
func L4Checksum(src, dst netip.Addr, proto uint8, segment []byte) uint16 {
	at, ok := checksumOffset(proto)
	if !ok || len(segment) < at+2 {
		return 0
	}
	s := pseudo(src, dst, proto, len(segment))
	s = sum(segment[:at], s) // at is even, so the words stay aligned
	c := ^fold(sum(segment[at+2:], s))
	if c == 0 && proto == UDP {
		return 0xffff
	}
	return c
}

func checksumOffset(proto uint8) (int, bool) {
	switch proto {
	case TCP:
		return tcpChecksum, true
	case UDP:
		return udpChecksum, true
	}
	return 0, false
}

// IPChecksumOK reports whether the IPv4 header checksum of a decoded frame is right; IPv6 has none and is right.
func (h Header) IPChecksumOK(frame []byte) bool {
	if h.Family != 4 {
		return true
	}
	return Checksum(frame[h.IPOffset:h.L4Offset]) == 0
}

// L4ChecksumOK reports whether the TCP or UDP checksum of a decoded frame is right. A UDP/IPv4 packet without
// checksum is right; a UDP/IPv6 one is not. Fragments cannot be checked and are not right.
func (h Header) L4ChecksumOK(frame []byte) bool {
	if h.Fragment {
		return false
	}
	at, ok := checksumOffset(h.Tuple.Proto)
	segment := h.segment(frame)
	if !ok || len(segment) < at+2 {
		return false
	}
	have := binary.BigEndian.Uint16(segment[at:])
	if h.Tuple.Proto == UDP && have == 0 {
		return h.Family == 4
	}
	return fold(sum(segment, pseudo(h.Tuple.Src.Addr(), h.Tuple.Dst.Addr(), h.Tuple.Proto, len(segment)))) == 0xffff
}

// L4ChecksumPartial reports whether the checksum field holds just the folded pseudo-header sum, as in a packet whose
// sender left the checksum to the device (CHECKSUM_PARTIAL).
func (h Header) L4ChecksumPartial(frame []byte) bool {
	at, ok := checksumOffset(h.Tuple.Proto)
	segment := h.segment(frame)
	if !ok || h.Fragment || len(segment) < at+2 {
		return false
	}
	return binary.BigEndian.Uint16(segment[at:]) == fold(pseudo(h.Tuple.Src.Addr(), h.Tuple.Dst.Addr(), h.Tuple.Proto, len(segment)))
}

// segment returns the L4 header and payload; UDP ends where its own length field says, as in the kernel
// (net/ipv4/udp.c, __udp4_lib_rcv).
func (h Header) segment(frame []byte) []byte {
	b := frame[h.L4Offset : h.IPOffset+h.IPLen]
	if h.Tuple.Proto == UDP && len(b) >= UDPLen {
		return b[:min(len(b), int(binary.BigEndian.Uint16(b[udpLength:])))]
	}
	return b
}
