package plan

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// protocol is what a filter is for: `protocol` of tc-filter(8), and how its fields are to be read.
type protocol struct {
	word string // "ip", "ipv6", "arp", "802.1Q", "all"
	l3   uint64 // EtherType of the network header; 0: none is matched
	l4   uint64
	tag  bool // 802.1Q
}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd

	protoICMP   = 1
	protoICMPv6 = 58

	mostProtocols = 8
)

// protocols are those that a space has packets of.
func protocols(s space.Space) ([]protocol, Finding) {
	p := protocol{word: "all"}
	l4, hasL4 := s.Values(space.L4Proto())
	v, single := l4.Single()
	p.l4 = v.Lo
	transport, network := false, false
	for _, c := range s.Constraints() {
		network = network || c.Field.Base == space.Network
		p.tag = p.tag || c.Field.Base == space.Link && c.Field.Off >= vlanAt
		transport = transport || c.Field.Base == space.Transport
	}
	if transport && !single {
		return nil, Finding{Reason: reason.MissingL4Dep}
	}
	l3, ok := s.Values(space.L3Proto())
	switch {
	case ok:
	case network:
		return nil, Finding{Reason: reason.MissingL3Dep}
	case transport || hasL4:
		l3 = space.One(space.Number(etherIPv4)).Join(space.One(space.Number(etherIPv6)))
	case p.tag:
		p.word = "802.1Q"
		return []protocol{p}, Finding{}
	default:
		return linkProtocol(s, p)
	}
	if transport && p.l4 == protoICMP {
		l3 = l3.Meet(space.One(space.Number(etherIPv4)))
	}
	if transport && p.l4 == protoICMPv6 {
		l3 = l3.Meet(space.One(space.Number(etherIPv6)))
	}
	var out []protocol
	for _, iv := range l3 {
		for v := iv.First.Lo; v <= iv.Last.Lo; v++ {
			p.l3, p.word = v, etherWord(v)
			if p.tag {
				p.word = "802.1Q"
			}
			out = append(out, p)
			if len(out) > mostProtocols {
				return nil, tooLarge()
			}
		}
	}
	return out, Finding{}
}

// linkProtocol is the protocol of rules that match the Ethernet header only.
func linkProtocol(s space.Space, p protocol) ([]protocol, Finding) {
	types, ok := s.Values(space.Field{Base: space.Link, Off: 96, Len: 16})
	if !ok {
		return []protocol{p}, Finding{}
	}
	v, single := types.Single()
	if !single {
		return nil, tooLarge()
	}
	p.l3, p.word = v.Lo, etherWord(v.Lo)
	return []protocol{p}, Finding{}
}

// etherWord is the name that tc has for an EtherType.
func etherWord(n uint64) string {
	switch n {
	case etherIPv4:
		return "ip"
	case etherIPv6:
		return "ipv6"
	case etherARP:
		return "arp"
	case etherVLAN:
		return "802.1Q"
	case 0x88a8:
		return "802.1ad"
	}
	return fmt.Sprintf("%#x", n)
}

// flowerWord is a key of tc-flower(8).
type flowerWord struct {
	name  string
	key   caps.Keys
	whole bool // tc has no mask for it
	write func(space.Mask) string
}

// flowerKey is the key for a field. A key without write is said by the protocol.
func flowerKey(f space.Field, p protocol) (flowerWord, bool) {
	switch f.Base {
	case space.Link:
		return linkKey(f, p)
	case space.Network:
		return networkKey(f, p)
	case space.Transport:
		return transportKey(f, p)
	case space.Beyond:
	}
	switch f {
	case space.InDevice(), space.InName(), space.InType():
		return flowerWord{name: f.Name}, true // the filter is on that device
	case space.L3Proto():
		if p.tag {
			return word("vlan_ethtype", caps.KeyVLAN, func(space.Mask) string { return etherWord(p.l3) }), true
		}
		return flowerWord{name: "protocol", key: caps.KeyBasic}, true
	case space.L4Proto():
		return word("ip_proto", caps.KeyBasic, func(m space.Mask) string { return protoWord(m.Want.Lo, p) }), true
	}
	return flowerWord{}, false
}

func word(name string, key caps.Keys, value func(space.Mask) string) flowerWord {
	return flowerWord{name, key, true, func(m space.Mask) string { return name + " " + value(m) }}
}

func masked(name string, key caps.Keys, value func(space.Mask) string) flowerWord {
	return flowerWord{name, key, false, func(m space.Mask) string { return name + " " + value(m) }}
}

// protoWord is the name that tc has for an IP protocol.
func protoWord(n uint64, p protocol) string {
	switch {
	case n == 6:
		return "tcp"
	case n == 17:
		return "udp"
	case n == 132:
		return "sctp"
	case n == protoICMP && p.l3 == etherIPv4:
		return "icmp"
	case n == protoICMPv6 && p.l3 == etherIPv6:
		return "icmpv6"
	}
	return fmt.Sprintf("%#02x", n)
}

func linkKey(f space.Field, p protocol) (flowerWord, bool) {
	number := func(m space.Mask) string { return fmt.Sprint(m.Want.Lo) }
	switch [2]int{f.Off, f.Len} {
	case [2]int{0, 48}:
		return masked("dst_mac", caps.KeyEth, macMask), true
	case [2]int{48, 48}:
		return masked("src_mac", caps.KeyEth, macMask), true
	case [2]int{96, 16}:
		return flowerWord{name: "protocol", key: caps.KeyBasic}, true
	case [2]int{112, 3}:
		return word("vlan_prio", caps.KeyVLAN, number), true
	case [2]int{116, 12}:
		return word("vlan_id", caps.KeyVLAN, number), true
	case [2]int{128, 16}:
		if p.l3 != 0 {
			return flowerWord{name: "vlan_ethtype", key: caps.KeyVLAN}, true
		}
		return word("vlan_ethtype", caps.KeyVLAN, func(m space.Mask) string { return etherWord(m.Want.Lo) }), true
	}
	return flowerWord{}, false
}

func networkKey(f space.Field, p protocol) (flowerWord, bool) {
	tos := func(shift int) func(space.Mask) string {
		return func(m space.Mask) string { return fmt.Sprintf("%#02x/%#02x", m.Want.Lo<<shift, m.Bits.Lo<<shift) }
	}
	at := [2]int{f.Off, f.Len}
	switch p.l3 {
	case etherIPv4:
		switch at {
		case [2]int{8, 6}:
			return masked("ip_tos", caps.KeyIP, tos(2)), true
		case [2]int{14, 2}:
			return masked("ip_tos", caps.KeyIP, tos(0)), true
		case [2]int{64, 8}:
			return masked("ip_ttl", caps.KeyIP, byteMask), true
		case [2]int{72, 8}:
			return word("ip_proto", caps.KeyBasic, func(m space.Mask) string { return protoWord(m.Want.Lo, p) }), true
		case [2]int{96, 32}:
			return masked("src_ip", caps.KeyIPv4|caps.KeyControl, addressMask(4)), true
		case [2]int{128, 32}:
			return masked("dst_ip", caps.KeyIPv4|caps.KeyControl, addressMask(4)), true
		}
	case etherIPv6:
		switch at {
		case [2]int{4, 6}:
			return masked("ip_tos", caps.KeyIP, tos(2)), true
		case [2]int{10, 2}:
			return masked("ip_tos", caps.KeyIP, tos(0)), true
		case [2]int{56, 8}:
			return masked("ip_ttl", caps.KeyIP, byteMask), true
		case [2]int{64, 128}:
			return masked("src_ip", caps.KeyIPv6|caps.KeyControl, addressMask(16)), true
		case [2]int{192, 128}:
			return masked("dst_ip", caps.KeyIPv6|caps.KeyControl, addressMask(16)), true
		}
	case etherARP:
		return arpKey(at)
	}
	return flowerWord{}, false
}

func arpKey(at [2]int) (flowerWord, bool) {
	switch at {
	case [2]int{48, 16}:
		return word("arp_op", caps.KeyARP, func(m space.Mask) string { return fmt.Sprint(m.Want.Lo) }), true
	case [2]int{64, 48}:
		return masked("arp_sha", caps.KeyARP, macMask), true
	case [2]int{112, 32}:
		return masked("arp_sip", caps.KeyARP, addressMask(4)), true
	case [2]int{144, 48}:
		return masked("arp_tha", caps.KeyARP, macMask), true
	case [2]int{192, 32}:
		return masked("arp_tip", caps.KeyARP, addressMask(4)), true
	}
	return flowerWord{}, false
}

func transportKey(f space.Field, p protocol) (flowerWord, bool) {
	ports := p.l4 == 6 || p.l4 == 17 || p.l4 == 132
	icmp := p.l4 == protoICMP && p.l3 == etherIPv4 || p.l4 == protoICMPv6 && p.l3 == etherIPv6
	at := [2]int{f.Off, f.Len}
	switch {
	case ports && at == [2]int{0, 16}:
		return masked("src_port", caps.KeyPorts, portMask), true
	case ports && at == [2]int{16, 16}:
		return masked("dst_port", caps.KeyPorts, portMask), true
	case p.l4 == 6 && at == [2]int{104, 8}:
		return masked("tcp_flags", caps.KeyTCPFlags, func(m space.Mask) string { return fmt.Sprintf("%#x/%#x", m.Want.Lo, m.Bits.Lo) }), true
	case icmp && at == [2]int{0, 8}:
		return masked("type", caps.KeyICMP, byteMask), true
	case icmp && at == [2]int{8, 8}:
		return masked("code", caps.KeyICMP, byteMask), true
	}
	return flowerWord{}, false
}

func byteMask(m space.Mask) string {
	if m.Whole(8) {
		return fmt.Sprint(m.Want.Lo)
	}
	return fmt.Sprintf("%d/%#x", m.Want.Lo, m.Bits.Lo)
}

func portMask(m space.Mask) string {
	if m.Whole(16) {
		return fmt.Sprint(m.Want.Lo)
	}
	return fmt.Sprintf("%d/%#x", m.Want.Lo, m.Bits.Lo)
}

func macMask(m space.Mask) string {
	text := func(v space.Value) string { return net.HardwareAddr(v.Bytes(6)).String() }
	if m.Whole(48) {
		return text(m.Want)
	}
	return text(m.Want) + "/" + text(m.Bits)
}

func addressMask(size int) func(space.Mask) string {
	return func(m space.Mask) string {
		a, _ := netip.AddrFromSlice(m.Want.Bytes(size))
		if m.Whole(8 * size) {
			return a.String()
		}
		if n, ok := m.Length(8 * size); ok {
			return netip.PrefixFrom(a, n).String()
		}
		b, _ := netip.AddrFromSlice(m.Bits.Bytes(size))
		return a.String() + "/" + b.String()
	}
}
