package contract

import (
	"encoding/binary"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// What a frame may carry besides IP (include/uapi/linux/if_ether.h, RFC 2516).
const (
	etherPPPoE = 0x8864
	pppIPv4    = 0x0021
	pppIPv6    = 0x0057
	pppoeLen   = 8 // with the number of the PPP protocol
)

// Where things are in the headers (RFC 791, RFC 8200, RFC 9293, RFC 2784).
const (
	ip4Len, ip6Len = 20, 40
	tcpFlagsAt     = 13
	greKeyBit      = 0x20
	greVersionMask = 7
)

// Frame reads a frame as the kernel's flowtable does at the ingress hook, where the outer tag is out of the frame already.
// bare says that it begins with the IP header. ok is false where the frame ends inside a header.
func Frame(frame []byte, bare bool) (p Packet, ok bool) {
	typ, b := uint16(0), frame
	switch {
	case bare && len(b) > 0:
		typ = map[byte]uint16{4: packet.EtherTypeIPv4, 6: packet.EtherTypeIPv6}[b[0]>>4]
	case !bare && len(b) >= packet.EthernetLen:
		typ, b = binary.BigEndian.Uint16(b[packet.EthernetLen-2:]), b[packet.EthernetLen:]
	default:
		return p, false
	}
	if typ == packet.EtherTypeVLAN || typ == packet.EtherTypeQinQ {
		typ, b = inTag(b)
	}
	switch typ {
	case packet.EtherTypeVLAN:
		typ, b = inTag(b)
	case etherPPPoE:
		typ, b = inPPPoE(b)
	}
	switch typ {
	case packet.EtherTypeIPv4:
		return p.ip4(b)
	case packet.EtherTypeIPv6:
		return p.ip6(b)
	}
	p.Encap = true
	return p, true
}

// inTag is what a VLAN tag is before.
func inTag(b []byte) (typ uint16, rest []byte) {
	if len(b) < packet.TagLen {
		return 0, nil
	}
	return binary.BigEndian.Uint16(b[2:]), b[packet.TagLen:]
}

// inPPPoE is what is in a PPPoE session.
func inPPPoE(b []byte) (typ uint16, rest []byte) {
	if len(b) < pppoeLen {
		return 0, nil
	}
	switch binary.BigEndian.Uint16(b[pppoeLen-2:]) {
	case pppIPv4:
		typ = packet.EtherTypeIPv4
	case pppIPv6:
		typ = packet.EtherTypeIPv6
	}
	return typ, b[pppoeLen:]
}

func (p Packet) ip4(b []byte) (Packet, bool) {
	if len(b) < ip4Len || int(b[0]&15)*4 < ip4Len || len(b) < int(b[0]&15)*4 {
		return p, false
	}
	const moreOrOffset = 0x3fff
	p.Options = b[0]&15 > ip4Len/4
	p.Fragment = binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0
	p.Len, p.TTL, p.Proto = int(binary.BigEndian.Uint16(b[2:])), b[8], b[9]
	if p.Fragment {
		return p, true
	}
	return p.transport(b[int(b[0]&15)*4:])
}

func (p Packet) ip6(b []byte) (Packet, bool) {
	if len(b) < ip6Len {
		return p, false
	}
	p.IPv6 = true
	p.Len, p.Proto, p.TTL = ip6Len+int(binary.BigEndian.Uint16(b[4:])), b[6], b[7]
	switch p.Proto {
	case 0, 43, 44, 51, 60, 135, 139, 140: // IANA: IPv6 Extension Header Types; not ESP, behind which nothing can be read
		p.ExtHeader = true
		return p, true
	}
	return p.transport(b[ip6Len:])
}

func (p Packet) transport(b []byte) (Packet, bool) {
	switch p.Proto {
	case TCP:
		if len(b) < packet.TCPLen {
			return p, false
		}
		p.FINorRST = packet.TCPFlags(b[tcpFlagsAt])&(packet.FIN|packet.RST) != 0
	case UDP:
		return p, len(b) >= packet.UDPLen
	case GRE:
		if len(b) < 4 {
			return p, false
		}
		p.GREKey, p.GREVersion = b[0]&greKeyBit != 0, int(b[1]&greVersionMask)
	}
	return p, true
}
