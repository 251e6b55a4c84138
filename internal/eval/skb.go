package eval

import (
	"encoding/binary"
	"slices"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// EtherTypes of frames whose type field is a length (include/uapi/linux/if_ether.h).
const (
	proto8023 uint16 = 0x0001
	proto8022 uint16 = 0x0004
	// least8023 is the smallest EtherType that is no length.
	least8023 uint16 = 0x0600
)

// Protocol numbers (IANA).
const (
	protoHopByHop uint8 = 0
	protoICMP     uint8 = 1
	protoIPIP     uint8 = 4
	protoTCP      uint8 = 6
	protoUDP      uint8 = 17
	protoRouting  uint8 = 43
	protoFragment uint8 = 44
	protoGRE      uint8 = 47
	protoAH       uint8 = 51
	protoICMPv6   uint8 = 58
	protoNone     uint8 = 59
	protoDest     uint8 = 60
	protoMobility uint8 = 135
	protoUDPLite  uint8 = 136
)

// Numbers of the kernel's families (include/uapi/linux/netfilter.h).
const (
	pfIPv4   = 2
	pfARP    = 3
	pfNetdev = 5
	pfBridge = 7
	pfIPv6   = 10
)

// skb is a packet as a hook sees it (struct sk_buff and struct nft_pktinfo). Offsets count from the first byte of data.
type skb struct {
	data []byte // the whole frame; the outer VLAN tag, which the kernel keeps beside the bytes, is in place
	bare bool   // there is no link header
	net  int    // network header
	// protocol is skb->protocol: the EtherType behind the outer tag.
	protocol uint16
	tagged   bool // the outer tag is in metadata
	// head is 1 where skb->len includes the link header, as it does on the way out.
	head bool

	pf int // family of the hook
	// l4 says that transport protocol and header are known (NFT_PKTINFO_L4PROTO).
	l4      bool
	proto   uint8
	th      int
	fragOff int // not 0: no transport header in this packet
}

// receive does what the receive path does before the ingress hook: eth_type_trans and skb_vlan_untag. It returns why
// the frame does not get as far.
func receive(p Packet) (*skb, string) {
	s := &skb{data: slices.Clone(p.Frame), bare: p.Bare}
	if p.Bare {
		if len(s.data) == 0 {
			return nil, "the packet is empty"
		}
		s.protocol = packet.EtherTypeIPv4
		if s.data[0]>>4 == 6 {
			s.protocol = packet.EtherTypeIPv6
		}
		return s, ""
	}
	if len(s.data) < packet.EthernetLen {
		return nil, "the frame is shorter than an Ethernet header"
	}
	s.net = packet.EthernetLen
	s.protocol = s.etherType(s.net - 2)
	if isTag(s.protocol) {
		// The encapsulated type and two bytes behind it are looked at (net/core/skbuff.c, skb_vlan_untag).
		if len(s.data) < s.net+packet.TagLen+2 {
			return nil, "the frame ends inside its VLAN tag"
		}
		s.net += packet.TagLen
		s.protocol, s.tagged = s.etherType(s.net-2), true
	}
	return s, ""
}

// etherType reads an EtherType; a length there means 802.2, or 802.3 as Novell wrote it.
func (s *skb) etherType(at int) uint16 {
	t := binary.BigEndian.Uint16(s.data[at:])
	if t >= least8023 {
		return t
	}
	if len(s.data) >= at+4 && binary.BigEndian.Uint16(s.data[at+2:]) == 0xffff {
		return proto8023
	}
	return proto8022
}

func isTag(t uint16) bool { return t == packet.EtherTypeVLAN || t == packet.EtherTypeQinQ }

// length is skb->len at this hook.
func (s *skb) length() int {
	n := len(s.data) - s.net
	if s.head {
		n = len(s.data)
		if s.tagged {
			n -= packet.TagLen
		}
	}
	return n
}

// look sets what the packet is for chains of a hook family: the transport header, where there is one to be trusted
// (nft_set_pktinfo_*, include/net/netfilter/nf_tables_ipv4.h and _ipv6.h).
func (s *skb) look(pf int) {
	s.pf = pf
	s.l4, s.proto, s.th, s.fragOff = false, 0, 0, 0
	kind := s.protocol
	if pf == pfBridge && !s.bare {
		kind = s.protocol
	}
	switch {
	case pf == pfIPv4, (pf == pfNetdev || pf == pfBridge) && kind == packet.EtherTypeIPv4:
		s.look4(pf != pfIPv4)
	case pf == pfIPv6, (pf == pfNetdev || pf == pfBridge) && kind == packet.EtherTypeIPv6:
		s.look6(pf != pfIPv6)
	}
}

func (s *skb) look4(validate bool) {
	h := s.data[s.net:]
	if len(h) < packet.IPv4Len {
		return
	}
	ihl, total := int(h[0]&0xf)*4, int(binary.BigEndian.Uint16(h[2:]))
	if validate && (ihl < packet.IPv4Len || h[0]>>4 != 4 || len(h) < total || total < ihl) {
		return
	}
	s.l4, s.proto, s.th = true, h[9], s.net+ihl
	s.fragOff = int(binary.BigEndian.Uint16(h[6:]) & 0x1fff)
}

func (s *skb) look6(validate bool) {
	h := s.data[s.net:]
	if len(h) < packet.IPv6Len {
		return
	}
	if validate && (h[0]>>4 != 6 || packet.IPv6Len+int(binary.BigEndian.Uint16(h[4:])) > len(h)) {
		return
	}
	x, ok := s.extension(-1, true)
	if !ok {
		return
	}
	s.l4, s.proto, s.th, s.fragOff = true, x.proto, x.at, x.fragOff
	if x.at == 0 { // a later fragment: the kernel's offset stays 0, which is where skb->data is
		s.th = s.net
		if s.head {
			s.th = 0
		}
	}
}

// found is where a search through extension headers ended.
type found struct {
	proto   uint8
	at      int
	fragOff int
}

// extension follows the IPv6 extension headers to the one of a number, or with -1 to the transport header
// (net/ipv6/exthdrs_core.c, ipv6_find_hdr). With stopAtAH an authentication header counts as transport.
func (s *skb) extension(target int, stopAtAH bool) (found, bool) {
	if len(s.data) < s.net+packet.IPv6Len {
		return found{}, false
	}
	next, at := s.data[s.net+6], s.net+packet.IPv6Len
	for {
		hit := int(next) == target
		if !isExtension(next) || next == protoNone {
			return found{proto: next, at: at}, target < 0 || hit
		}
		if len(s.data) < at+2 {
			return found{}, false
		}
		length := 8 + 8*int(s.data[at+1])
		switch next {
		case protoFragment:
			if len(s.data) < at+4 {
				return found{}, false
			}
			if off := int(binary.BigEndian.Uint16(s.data[at+2:]) &^ 7); off != 0 {
				inner := s.data[at]
				if target < 0 && (!isExtension(inner) || inner == protoNone) {
					return found{proto: inner, fragOff: off}, true
				}
				return found{proto: next, at: at, fragOff: off}, hit
			}
			length = 8
		case protoRouting:
			if len(s.data) < at+4 {
				return found{}, false
			}
		case protoAH:
			if stopAtAH && target < 0 {
				return found{proto: next, at: at}, true
			}
			length = 4 * (int(s.data[at+1]) + 2)
		}
		if hit {
			return found{proto: next, at: at}, true
		}
		next = s.data[at]
		at += length
	}
}

func isExtension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoNone, protoDest:
		return true
	}
	return false
}

// bytes returns n bytes at an offset, if the packet has them.
func (s *skb) bytes(at, n int) ([]byte, bool) {
	if at < 0 || n < 0 || at+n > len(s.data) {
		return nil, false
	}
	return s.data[at : at+n], true
}

// base returns where a header begins, as nft_payload_eval takes it.
func (s *skb) base(b string) (int, bool) {
	switch b {
	case "ll":
		return 0, !s.bare
	case "nh":
		return s.net, true
	case "th":
		return s.th, s.l4 && s.fragOff == 0
	case "ih":
		return s.inner()
	}
	return 0, false
}

// fastBase is base for loads of n bytes. Those of 1, 2 and 4 bytes from the transport header are done by
// nft_payload_fast_eval (net/netfilter/nf_tables_core.c), which does not ask whether the packet is a later fragment: the
// rule then sees data where the header would be (seen on 6.18.44).
func (s *skb) fastBase(b string, n int) (int, bool) {
	if b == "th" && s.fragOff != 0 && (n == 1 || n == 2 || n == 4) {
		return s.th, s.l4
	}
	return s.base(b)
}

// rebuilt is bytes of the link header at an offset as rules see them: behind a tag that the kernel has beside the bytes, it
// puts skb->protocol, also where the frame has a length (net/netfilter/nft_payload.c nft_payload_rebuild_vlan_hdr).
func (s *skb) rebuilt(b []byte, at int) []byte {
	const typeAt = packet.EthernetLen + packet.TagLen - 2
	if !s.tagged || at+len(b) <= typeAt || at >= typeAt+2 {
		return b
	}
	b = slices.Clone(b)
	for i, v := range binary.BigEndian.AppendUint16(nil, s.protocol) {
		if n := typeAt + i - at; n >= 0 && n < len(b) {
			b[n] = v
		}
	}
	return b
}

// inner is where the payload of the transport header begins (nft_payload_inner_offset).
func (s *skb) inner() (int, bool) {
	if !s.l4 || s.fragOff != 0 {
		return 0, false
	}
	switch s.proto {
	case protoUDP:
		return s.th + packet.UDPLen, true
	case protoTCP:
		h, ok := s.bytes(s.th, packet.TCPLen)
		if !ok {
			return 0, false
		}
		return s.th + int(h[12]>>4)*4, true
	case protoGRE:
		return s.innerGRE()
	case protoIPIP:
		return s.th, true
	}
	return 0, false
}

// innerGRE steps over the GRE header and its optional fields (version 0).
func (s *skb) innerGRE() (int, bool) {
	const least, routing, version = 4, 0x4000, 0x7
	h, ok := s.bytes(s.th, least)
	if !ok {
		return 0, false
	}
	flags := binary.BigEndian.Uint16(h)
	if flags&routing != 0 || flags&version != 0 {
		return 0, false
	}
	at := s.th + least
	for _, optional := range []uint16{0x8000, 0x2000, 0x1000} { // checksum, key, sequence
		if flags&optional != 0 {
			at += 4
		}
	}
	return at, true
}
