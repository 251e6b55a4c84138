package bpfgen

import (
	"encoding/binary"
	"slices"
)

// named is a packet and what it is.
type named struct {
	name string
	data []byte
}

func ether(typ uint16, payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2}
	return append(binary.BigEndian.AppendUint16(b, typ), payload...)
}

func tagged(tpid, tci uint16, b []byte) []byte {
	out := binary.BigEndian.AppendUint16(slices.Clone(b[:12]), tpid)
	return append(binary.BigEndian.AppendUint16(out, tci), b[12:]...)
}

type v4 struct {
	frag    uint16
	proto   byte
	options []byte
	total   int // what the header says more than there is
	version byte
	ihl     int // what the header says more
}

func (h v4) packet(payload []byte) []byte {
	n := 20 + len(h.options)
	b := make([]byte, n, n+len(payload))
	b[0] = 4<<4 + byte(n/4) + byte(h.ihl)
	if h.version != 0 {
		b[0] = h.version<<4 + byte(n/4)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(n+len(payload)+h.total))
	binary.BigEndian.PutUint16(b[6:], h.frag)
	b[8], b[9] = 64, h.proto
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 1, 2})
	copy(b[20:], h.options)
	return append(b, payload...)
}

type ext struct {
	number byte
	body   []byte // without the next header
}

func v6(proto byte, payload []byte, exts ...ext) []byte {
	b := make([]byte, 40)
	b[0], b[7] = 0x60, 64
	b[8], b[9], b[23] = 0x20, 1, 1
	b[24], b[25], b[39] = 0x20, 2, 2
	at := 6
	for _, x := range exts {
		b[at] = x.number
		at = len(b)
		b = append(append(b, 0), x.body...)
	}
	b[at] = proto
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

func tcp(sport, dport uint16, flags byte) []byte {
	b := make([]byte, 20, 24)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	b[12], b[13] = 0x50, flags
	return append(b, 1, 2, 3, 4)
}

func udp(sport, dport uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	return append(b, 0, 12, 0, 0, 1, 2, 3, 4)
}

// options is an extension header's body of so many units of 8 bytes.
func options(units int) []byte {
	b := make([]byte, 8*units-1)
	b[0] = byte(units - 1)
	return b
}

func fragment(offset uint16) []byte {
	return []byte{0, byte(offset >> 8), byte(offset), 0, 0, 0, 7}
}

// frames are packets that a parser may get wrong.
func frames() []named {
	const ip, ip6 = 0x800, 0x86dd
	t4, u4 := ether(ip, v4{proto: 6}.packet(tcp(1000, 80, 2))), ether(ip, v4{proto: 17}.packet(udp(1000, 53)))
	t6 := ether(ip6, v6(6, tcp(1000, 80, 2)))
	broadcast := slices.Clone(u4)
	copy(broadcast, []byte{255, 255, 255, 255, 255, 255})
	multicast := slices.Clone(u4)
	multicast[0] = 1
	fs := []named{
		{"tcp", t4},
		{"udp", u4},
		{"udp, padded", append(slices.Clone(u4), make([]byte, 20)...)},
		{"udp broadcast", broadcast},
		{"udp multicast", multicast},
		{"icmp echo request", ether(ip, v4{proto: 1}.packet([]byte{8, 0, 1, 2, 0, 1, 0, 2}))},
		{"tcp, IPv4 options", ether(ip, v4{proto: 6, options: make([]byte, 8)}.packet(tcp(1000, 80, 2)))},
		{"tcp, all room for options used", ether(ip, v4{proto: 6, options: make([]byte, 40)}.packet(tcp(1000, 80, 16)))},
		{"first fragment", ether(ip, v4{proto: 17, frag: 0x2000}.packet(udp(1000, 53)))},
		{"later fragment", ether(ip, v4{proto: 17, frag: 0x2001}.packet(udp(1000, 53)))},
		{"last fragment, 3 bytes", ether(ip, v4{proto: 6, frag: 0x0020}.packet([]byte{1, 2, 3}))},
		{"total length above the frame", ether(ip, v4{proto: 17, total: 1}.packet(udp(1000, 53)))},
		{"total length below the header", ether(ip, v4{proto: 17, total: -13}.packet(udp(1000, 53)))},
		{"IPv4 version 5", ether(ip, v4{proto: 17, version: 5}.packet(udp(1000, 53)))},
		{"header length 4 words", ether(ip, v4{proto: 17, ihl: -1}.packet(udp(1000, 53)))},
		{"header length above the packet", ether(ip, v4{proto: 17, ihl: 10}.packet(udp(1000, 53)))},
		{"19 bytes of IPv4", ether(ip, v4{proto: 17}.packet(nil)[:19])},
		{"IPv4 header alone", ether(ip, v4{proto: 6}.packet(nil))},
		{"tcp, 1 byte", ether(ip, v4{proto: 6}.packet(tcp(1, 80, 2)[:1]))},
		{"tcp, 3 bytes", ether(ip, v4{proto: 6}.packet(tcp(1, 80, 2)[:3]))},
		{"tcp, 13 bytes", ether(ip, v4{proto: 6}.packet(tcp(1, 80, 2)[:13]))},
		{"odd length", ether(ip, v4{proto: 17}.packet(udp(1000, 53)[:11]))},
		{"802.1Q", tagged(0x8100, 0x2005, t4)},
		{"802.1ad", tagged(0x88a8, 7, u4)},
		{"802.1Q, VLAN 0", tagged(0x8100, 0, t6)},
		{"QinQ", tagged(0x88a8, 7, tagged(0x8100, 0xf00a, t4))},
		{"two 802.1Q tags", tagged(0x8100, 7, tagged(0x8100, 10, u4))},
		{"tag, then 2 bytes", tagged(0x8100, 7, u4)[:20]},
		{"tag, then 1 byte", tagged(0x8100, 7, u4)[:19]},
		{"arp", ether(0x806, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 1, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 1, 2})},
		{"arp, cut off", ether(0x806, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 1, 2, 10, 0})},
		{"802.2", ether(38, append([]byte{0x42, 0x42, 3}, make([]byte, 35)...))},
		{"802.3 of Novell", ether(38, append([]byte{0xff, 0xff, 3}, make([]byte, 35)...))},
		{"a tag and 802.2", tagged(0x8100, 5, ether(38, append([]byte{0x42, 0x42, 3}, make([]byte, 35)...)))},
		{"a tag and Novell", tagged(0x8100, 5, ether(38, append([]byte{0xff, 0xff, 3}, make([]byte, 35)...)))},
		{"header alone", ether(ip, nil)},
		{"tcp over IPv6", t6},
		{"udp over IPv6", ether(ip6, v6(17, udp(1000, 53)))},
		{"icmpv6", ether(ip6, v6(58, []byte{128, 0, 1, 2, 0, 1, 0, 2}))},
		{"IPv6, 39 bytes", ether(ip6, v6(17, nil)[:39])},
		{"IPv6, payload length above", ether(ip6, v6(17, udp(1000, 53))[:50])},
		{"IPv6, source address cut off", ether(ip6, v6(17, nil)[:17])},
		{"IPv6, destination address cut off", ether(ip6, v6(17, nil)[:31])},
		{"IPv6 version 4", func() []byte { b := slices.Clone(t6); b[14] = 0x40; return b }()},
		{"hop by hop", ether(ip6, v6(6, tcp(1000, 80, 2), ext{0, options(1)}))},
		{"hop by hop, destination, routing", ether(ip6, v6(17, udp(1000, 53), ext{0, options(1)}, ext{60, options(3)}, ext{43, options(2)}))},
		{"IPv6, first fragment", ether(ip6, v6(17, udp(1000, 53), ext{44, fragment(1)}))},
		{"IPv6, later fragment", ether(ip6, v6(17, udp(1000, 53), ext{44, fragment(9)}))},
		{"IPv6, later fragment of destination options", ether(ip6, v6(60, udp(1000, 53), ext{44, fragment(8)}))},
		{"IPv6, later fragment of nothing", ether(ip6, v6(59, udp(1000, 53), ext{44, fragment(8)}))},
		{"authentication header", ether(ip6, v6(6, tcp(1000, 80, 2), ext{51, make([]byte, 23)}))},
		{"no next header", ether(ip6, v6(59, []byte{1, 2, 3, 4}))},
		{"extension header cut off after 1 byte", ether(ip6, v6(60, []byte{6}))},
		{"fragment header cut off after 3 bytes", ether(ip6, v6(44, []byte{6, 0, 0}))},
		{"routing header cut off after 3 bytes", ether(ip6, v6(43, []byte{6, 0, 0}))},
		{"7 extension headers", ether(ip6, v6(6, tcp(1000, 80, 2), repeat(ext{60, options(1)}, 7)...))},
		{"8 extension headers", ether(ip6, v6(6, tcp(1000, 80, 2), repeat(ext{60, options(1)}, 8)...))},
		{"a long extension header", ether(ip6, v6(6, tcp(1000, 80, 2), ext{60, options(60)}))},
		{"an extension header behind the packet", ether(ip6, v6(60, []byte{6, 200, 0, 0, 0, 0, 0, 0}))},
		{"ipip", ether(ip, v4{proto: 4}.packet(v4{proto: 6}.packet(tcp(1, 2, 3))))},
	}
	return fs
}

func repeat(x ext, n int) []ext {
	out := make([]ext, n)
	for i := range out {
		out[i] = x
	}
	return out
}
