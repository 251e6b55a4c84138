package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Why a frame does not decode.
var (
	ErrShort   = errors.New("frame ends inside a header")
	ErrNotIP   = errors.New("neither IPv4 nor IPv6")
	ErrVersion = errors.New("IP version does not match the EtherType")
	ErrLength  = errors.New("a length field does not fit the frame")
	ErrTooDeep = errors.New("more headers than the decoder follows")
)

// IPv6 extension header numbers (IANA).
const (
	protoHopByHop    uint8 = 0
	protoRouting     uint8 = 43
	protoFragment    uint8 = 44
	protoDestination uint8 = 60
)

// maxTags and maxExtensions bound the decoder's loops; the datapath follows two tags and no extension.
const (
	maxTags       = 2
	maxExtensions = 8
)

// Header is what the decoder found in a frame: a value, no reference to the frame. Offsets count from the frame's
// first byte.
type Header struct {
	Dst, Src MAC
	Tags     [maxTags]Tag // outermost first
	TagCount int

	Family uint8 // 4 or 6
	// Tuple has ports only for TCP and UDP, and none for a fragment other than the first.
	Tuple     Tuple
	TOS, TTL  uint8  // or traffic class and hop limit
	ID        uint16 // IPv4
	FlowLabel uint32 // IPv6
	DF        bool
	Fragment  bool // any fragment, the first one included
	Options   bool // IPv4 options or IPv6 extension headers

	Flags    TCPFlags
	Seq, Ack uint32

	IPOffset      int
	IPLen         int // IP header to the end of the IP packet, by its length field
	L4Offset      int
	PayloadOffset int // behind the TCP or UDP header; L4Offset when there is none
	PayloadLen    int
	Trailing      int // bytes behind the end of the IP packet
}

// Decode reads the headers of a frame without allocating. Frames of other L4 protocols decode without ports.
// On an error the fields read so far are filled in.
func Decode(frame []byte) (Header, error) {
	var h Header
	if len(frame) < EthernetLen {
		return h, ErrShort
	}
	copy(h.Dst[:], frame[ethDst:])
	copy(h.Src[:], frame[ethSrc:])
	at := ethType
	typ := binary.BigEndian.Uint16(frame[at:])
	for at += 2; typ == EtherTypeVLAN || typ == EtherTypeQinQ; at += TagLen {
		if h.TagCount == maxTags {
			return h, ErrTooDeep
		}
		if len(frame) < at+TagLen {
			return h, ErrShort
		}
		h.Tags[h.TagCount] = Tag{TPID: typ, TCI: binary.BigEndian.Uint16(frame[at:])}
		h.TagCount++
		typ = binary.BigEndian.Uint16(frame[at+2:])
	}
	h.IPOffset = at
	switch typ {
	case EtherTypeIPv4:
		return h.ip4(frame)
	case EtherTypeIPv6:
		return h.ip6(frame)
	}
	return h, ErrNotIP
}

func (h Header) ip4(frame []byte) (Header, error) {
	ip := IPv4(frame[h.IPOffset:])
	if len(ip) < IPv4Len {
		return h, ErrShort
	}
	if ip[ip4VersionIHL]>>4 != 4 {
		return h, ErrVersion
	}
	if ip.headerLen() < IPv4Len || ip.totalLen() < ip.headerLen() || ip.totalLen() > len(ip) {
		return h, ErrLength
	}
	h.Family = 4
	h.TOS, h.TTL, h.ID = ip[ip4TOS], ip[ip4TTL], ip.id()
	h.DF = ip.frag()&ip4DF != 0
	h.Fragment = ip.frag()&(ip4MF|ip4OffsetMask) != 0
	h.Options = ip.headerLen() > IPv4Len
	h.IPLen = ip.totalLen()
	h.L4Offset = h.IPOffset + ip.headerLen()
	return h.l4(frame, ip.src(), ip.dst(), ip[ip4Proto], ip.frag()&ip4OffsetMask == 0)
}

func (h Header) ip6(frame []byte) (Header, error) {
	ip := IPv6(frame[h.IPOffset:])
	if len(ip) < IPv6Len {
		return h, ErrShort
	}
	if ip[ip6Flow]>>4 != 6 {
		return h, ErrVersion
	}
	if IPv6Len+ip.payloadLen() > len(ip) {
		return h, ErrLength
	}
	h.Family = 6
	h.TOS, h.TTL, h.FlowLabel = ip.trafficClass(), ip[ip6HopLimit], ip.flowLabel()
	h.IPLen = IPv6Len + ip.payloadLen()
	next, at, first := ip[ip6Next], IPv6Len, true
	for n := 0; isExtension(next); n++ {
		if n == maxExtensions {
			return h, ErrTooDeep
		}
		const smallest = 8
		if at+smallest > h.IPLen {
			return h, ErrLength
		}
		length := smallest
		if next == protoFragment {
			h.Fragment = true
			first = binary.BigEndian.Uint16(ip[at+2:])>>3 == 0
		} else {
			length += 8 * int(ip[at+1])
		}
		h.Options = true
		next = ip[at]
		if at += length; at > h.IPLen {
			return h, ErrLength
		}
		if !first {
			break // what follows a later fragment's header is data
		}
	}
	h.L4Offset = h.IPOffset + at
	return h.l4(frame, ip.src(), ip.dst(), next, first)
}

func isExtension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoDestination:
		return true
	}
	return false
}

// l4 fills in the tuple and, with first, ports and TCP fields. The slice of the IP packet's rest is checked first.
func (h Header) l4(frame []byte, src, dst netip.Addr, proto uint8, first bool) (Header, error) {
	end := h.IPOffset + h.IPLen
	h.Trailing = len(frame) - end
	h.PayloadOffset, h.PayloadLen = h.L4Offset, end-h.L4Offset
	h.Tuple = Tuple{Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0), Proto: proto}
	if !first || (proto != TCP && proto != UDP) {
		return h, nil
	}
	b := frame[h.L4Offset:end]
	length := UDPLen
	if proto == TCP {
		length = TCPLen
	}
	if len(b) < length {
		return h, ErrShort
	}
	h.Tuple.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[l4SrcPort:]))
	h.Tuple.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[l4DstPort:]))
	if proto == TCP {
		h.Seq, h.Ack = binary.BigEndian.Uint32(b[tcpSeq:]), binary.BigEndian.Uint32(b[tcpAck:])
		h.Flags = TCPFlags(b[tcpFlags])
		length = int(b[tcpOffset]>>4) * 4
		if length < TCPLen || length > len(b) {
			return h, ErrLength
		}
	} else if n := int(binary.BigEndian.Uint16(b[udpLength:])); n < UDPLen || (n > len(b) && !h.Fragment) {
		return h, ErrLength
	}
	h.PayloadOffset += length
	h.PayloadLen -= length
	return h, nil
}

// Payload returns the bytes behind the L4 header, up to the end of the IP packet.
func (h Header) Payload(frame []byte) []byte {
	return frame[h.PayloadOffset : h.PayloadOffset+h.PayloadLen]
}
