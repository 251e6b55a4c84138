package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// chainKind is one measured chain.
type chainKind struct {
	shape    string
	keys     string // what the elements of the set are
	rules    int
	elements int
}

func (k chainKind) String() string {
	if k.shape == ShapeSet {
		return fmt.Sprintf("set of %d, %s", k.elements, k.keys)
	}
	return fmt.Sprintf("%s, %d rules", k.shape, k.rules)
}

// What the measured table is called.
const (
	rulesTable = "filter"
	rulesChain = "ingress"
	rulesSet   = "blocked"
)

// Rule i, or element i, is about addresses of the i-th slot of 10.0.0.0/8: no two match the same source.
const (
	blockedNet  = 10 << 24
	ruleSlot    = 1024
	elementSlot = 16
)

func address(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b)
}

// source is the first address that rule i, or element i, is about.
func (k chainKind) source(i int) int {
	if k.shape == ShapeSet {
		return blockedNet + i*elementSlot
	}
	return blockedNet + i*ruleSlot
}

// text is the table, with the set still empty. All rules count and drop.
func (k chainKind) text(device string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s {\n", rulesTable)
	if k.shape == ShapeSet {
		flags := "flags interval"
		if k.keys == ShapeExact {
			flags = "" // a hash table
		}
		fmt.Fprintf(&b, "set %s {\ntype ipv4_addr\n%s\n}\n", rulesSet, flags)
	}
	fmt.Fprintf(&b, "chain %s {\ntype filter hook ingress device %q priority 0; policy accept;\n", rulesChain, device)
	k.writeRules(&b)
	b.WriteString("}\n}\n")
	return b.String()
}

// again replaces the rules of the chain by the same ones.
func (k chainKind) again() string {
	var b strings.Builder
	fmt.Fprintf(&b, "flush chain netdev %s %s\ntable netdev %s {\nchain %s {\n", rulesTable, rulesChain, rulesTable, rulesChain)
	k.writeRules(&b)
	b.WriteString("}\n}\n")
	return b.String()
}

func (k chainKind) writeRules(b *strings.Builder) {
	for i := range k.rules {
		fmt.Fprintf(b, "%s counter drop\n", k.match(i))
	}
}

// Ports of the rules; no range of the shape mixed holds a port of another rule, or that of a frame of another rule.
const (
	portsFrom  = 20_000
	ports      = 40_000
	rangesFrom = 1024
	rangeWidth = 4
)

func rulePort(i int) int { return portsFrom + i%ports }

// match is what rule i matches.
func (k chainKind) match(i int) string {
	first := k.source(i)
	switch k.shape {
	case ShapeSet:
		return "ip saddr @" + rulesSet
	case ShapePrefix:
		return fmt.Sprintf("ip saddr %s/%d", address(first), prefixLength(i))
	case ShapeRange:
		return fmt.Sprintf("ip saddr %s-%s", address(first), address(first+1+i%(ruleSlot-2)))
	case ShapeMixed:
		return k.mixed(i)
	default:
		return fmt.Sprintf("ip saddr %s udp dport %d", address(first), rulePort(i))
	}
}

// prefixLength is from /22, a whole slot, to /32.
func prefixLength(i int) int { return 22 + i%11 }

// mixed shapes come in turns. The last rule is an address and a port, whatever the number of rules.
func (k chainKind) mixed(i int) string {
	first := address(k.source(i))
	switch (k.rules - 1 - i) % 5 {
	case 1:
		return fmt.Sprintf("ip saddr %s/%d", first, prefixLength(i))
	case 2:
		return fmt.Sprintf("udp dport %d-%d", mixedRange(i), mixedRange(i)+rangeWidth-1)
	case 3:
		return fmt.Sprintf("ip daddr %s tcp dport %d", first, rulePort(i))
	case 4:
		return fmt.Sprintf("ether saddr %s", mixedMAC(i))
	default:
		return fmt.Sprintf("ip saddr %s udp dport %d", first, rulePort(i))
	}
}

func mixedRange(i int) int { return rangesFrom + i/5*rangeWidth }

func mixedMAC(i int) packet.MAC { return packet.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)} }

// template is a frame that no rule matches.
func template(from, to device) packet.Spec {
	s := datagram(from, to, netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("192.0.2.1"))
	s.Wrong = packet.NoChecksum // of UDP: legal, and sources can vary
	return s
}

// hit is a frame that rule i matches and no earlier one.
func (k chainKind) hit(i int, s packet.Spec) packet.Spec {
	src, port, proto := address(k.source(i)), uint16(rulePort(i)), packet.UDP
	dst := s.Tuple.Dst.Addr()
	if k.shape == ShapeMixed {
		elsewhere := s.Tuple.Src.Addr()
		switch (k.rules - 1 - i) % 5 {
		case 2:
			src, port = elsewhere, uint16(mixedRange(i)+1)
		case 3:
			src, dst, proto = elsewhere, src, packet.TCP
		case 4:
			src, s.Src = elsewhere, mixedMAC(i)
		}
	}
	s.Tuple = packet.Tuple{Src: netip.AddrPortFrom(src, s.Tuple.Src.Port()), Dst: netip.AddrPortFrom(dst, port), Proto: proto}
	return s
}

// samples are frames that rules all over the chain match, and some that none does.
func (k chainKind) samples(s packet.Spec) [][]byte {
	n := k.rules
	if k.shape == ShapeSet {
		n = k.elements
	}
	var at []int
	for _, i := range []int{0, n / 7, n / 3, n / 2, n - 5, n - 4, n - 3, n - 2, n - 1} {
		if i >= 0 && !slices.Contains(at, i) {
			at = append(at, i)
		}
	}
	out := [][]byte{s.Build()}
	for _, i := range at {
		f := k.hit(i, s)
		out = append(out, f.Build())
		f.Tuple.Src = netip.AddrPortFrom(address(k.source(i)+elementSlot-1), f.Tuple.Src.Port())
		out = append(out, f.Build())
		f = k.hit(i, s)
		f.Tuple.Dst = netipPort(f.Tuple.Dst, 9)
		out = append(out, f.Build())
	}
	arp := s
	arp.EtherType = 0x0806
	return append(out, arp.Build())
}

// element is element i of the set, as nft reads it.
func (k chainKind) element(i int) string {
	first := k.source(i)
	switch bits := elementBits(i); {
	case k.keys == ShapeExact, k.keys == ShapePrefix && bits == 32:
		return address(first).String()
	case k.keys == ShapePrefix:
		return fmt.Sprintf("%s/%d", address(first), bits)
	default:
		return fmt.Sprintf("%s-%s", address(first), address(k.last(i)))
	}
}

// elementBits is the length of prefix i, from /28, a whole slot, to /32.
func elementBits(i int) int { return 28 + i%5 }

// last is the last address of range i; the slot's last two are of none.
func (k chainKind) last(i int) int { return k.source(i) + 1 + i%(elementSlot-3) }

// elems are the elements as values.
func (k chainKind) elems() []ruleset.Expr {
	out := make([]ruleset.Expr, k.elements)
	for i := range out {
		first := ruleset.Str(address(k.source(i)).String())
		switch bits := elementBits(i); {
		case k.keys == ShapeExact, k.keys == ShapePrefix && bits == 32:
			out[i] = first
		case k.keys == ShapePrefix:
			out[i] = ruleset.Prefix{Addr: first, Len: bits}
		default:
			out[i] = ruleset.Range{From: first, To: ruleset.Str(address(k.last(i)).String())}
		}
	}
	return out
}

// elementsPerCommand keeps commands of nft from becoming too large.
const elementsPerCommand = 50_000

// fill is the commands that add all elements.
func (k chainKind) fill() string {
	var b strings.Builder
	for i := range k.elements {
		if i%elementsPerCommand == 0 {
			fmt.Fprintf(&b, "add element netdev %s %s { ", rulesTable, rulesSet)
		} else {
			b.WriteString(", ")
		}
		b.WriteString(k.element(i))
		if i == k.elements-1 || i%elementsPerCommand == elementsPerCommand-1 {
			b.WriteString(" }\n")
		}
	}
	return b.String()
}
