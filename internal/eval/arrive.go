package eval

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// arrive does what ip_rcv, ipv6_rcv and arp_rcv do before their hooks: packets that are for another host or malformed
// get no further, and what is behind the packet's end is cut off. The family is 0 for other protocols.
func (r *run) arrive() (pf int, why string) {
	s := r.s
	if why := s.dropTags(); why != "" {
		return 0, why
	}
	switch s.protocol {
	case packet.EtherTypeIPv4:
		pf = pfIPv4
	case packet.EtherTypeIPv6:
		pf = pfIPv6
	case packet.EtherTypeARP:
		pf = pfARP
	default:
		return 0, ""
	}
	if t, ok := r.pktType(); ok && t == pktOther && r.p.Route != RouteOutput {
		return pf, "the frame is addressed to another host"
	}
	switch pf {
	case pfARP:
		return pf, s.arriveARP()
	case pfIPv4:
		return pf, s.arrive4()
	}
	return pf, s.arrive6()
}

// dropTags takes VLAN tags off whose VLAN has no device: those with VLAN id 0 say only a priority, others are not for
// this host (net/core/dev.c, check_vlan_id).
func (s *skb) dropTags() string {
	for s.tagged {
		const at = packet.EthernetLen - 2
		id := binary.BigEndian.Uint16(s.data[packet.EthernetLen:]) & 0xfff
		s.data = slices.Delete(s.data, at, at+packet.TagLen)
		s.net, s.tagged = s.net-packet.TagLen, false
		switch {
		case id != 0:
			return "the packet has a VLAN tag, and the device is not that VLAN's"
		case !isTag(s.protocol):
		case len(s.data) < s.net+packet.TagLen+2:
			return "the frame ends inside its VLAN tag"
		default:
			s.net += packet.TagLen
			s.protocol, s.tagged = s.etherType(s.net-2), true
		}
	}
	return ""
}

func (s *skb) arriveARP() string {
	const length, hardware, protocol = 28, 4, 5 // of Ethernet and IPv4
	h, ok := s.bytes(s.net, length)
	switch {
	case !ok:
		return "the packet is shorter than an ARP packet"
	case h[hardware] != 6 || h[protocol] != 4:
		return "the ARP packet is not about Ethernet and IPv4"
	}
	return ""
}

func (s *skb) arrive4() string {
	h := s.data[s.net:]
	if len(h) < packet.IPv4Len {
		return "the packet is shorter than an IPv4 header"
	}
	ihl, total := int(h[0]&0xf)*4, int(binary.BigEndian.Uint16(h[2:]))
	switch {
	case ihl < packet.IPv4Len || h[0]>>4 != 4:
		return "the IPv4 header has a wrong version or length"
	case len(h) < ihl:
		return "the packet ends inside its IPv4 options"
	case packet.Checksum(h[:ihl]) != 0:
		return "the checksum of the IPv4 header is wrong"
	case len(h) < total || total < ihl:
		return "the total length of the IPv4 packet does not fit"
	}
	s.data = s.data[:s.net+total]
	return ""
}

func (s *skb) arrive6() string {
	h := s.data[s.net:]
	if len(h) < packet.IPv6Len {
		return "the packet is shorter than an IPv6 header"
	}
	length := packet.IPv6Len + int(binary.BigEndian.Uint16(h[4:]))
	if length == packet.IPv6Len && h[6] == protoHopByHop {
		length = len(h) // a jumbogram says its length in an option; the kernel does not insist on it
	}
	switch {
	case h[0]>>4 != 6:
		return "the IPv6 header has a wrong version"
	case length > len(h):
		return "the payload length of the IPv6 packet does not fit"
	case h[8] == 0xff:
		return "the IPv6 source address is multicast"
	}
	s.data = s.data[:s.net+length]
	if h[6] == protoHopByHop && !hopOptionsFine(s.data[s.net+packet.IPv6Len:]) {
		return "the hop-by-hop options of the IPv6 packet are malformed or unknown"
	}
	return ""
}

// Hop-by-hop options (include/uapi/linux/in6.h), and what the kernel puts up with (net/ipv6/exthdrs.c, ip6_parse_tlv).
const (
	optionPad1        = 0
	optionPadN        = 1
	optionRouterAlert = 5
	// optionDrop are the bits of an unknown option's type that ask for the packet to be dropped.
	optionDrop    = 0xc0
	maxPadding    = 7
	maxHopOptions = 8
)

// hopOptionsFine checks a hop-by-hop header.
func hopOptionsFine(h []byte) bool {
	const least, prefix = 8, 2
	if len(h) < least || len(h) < 8+8*int(h[1]) {
		return false
	}
	h = h[:8+8*int(h[1])]
	padding, options := 0, 0
	for i := prefix; i < len(h); {
		if h[i] == optionPad1 {
			i++
			if padding++; padding > maxPadding {
				return false
			}
			continue
		}
		if i+1 >= len(h) || i+2+int(h[i+1]) > len(h) {
			return false
		}
		option := h[i : i+2+int(h[i+1])]
		i += len(option)
		if option[0] == optionPadN {
			if padding += len(option); padding > maxPadding || !zero(option[2:]) {
				return false
			}
			continue
		}
		padding = 0
		if options++; options > maxHopOptions || !hopOptionFine(option) {
			return false
		}
	}
	return true
}

func hopOptionFine(option []byte) bool {
	if option[0] == optionRouterAlert {
		return option[1] == 2
	}
	return option[0]&optionDrop == 0
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
