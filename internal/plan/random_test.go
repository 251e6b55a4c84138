package plan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// random makes rulesets and packets of few values, so that rules often match and often overlap.
type random struct {
	*rand.Rand
	// wide has rules of all that programs execute, not only of what hardware knows, too.
	wide bool
}

func newRandom(seed uint64) random { return random{Rand: rand.New(rand.NewPCG(seed, seed))} }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) addr4() string { return fmt.Sprintf("10.%d.%d.%d", r.IntN(2), r.IntN(2), r.IntN(4)) }

func (r random) addr6() string { return fmt.Sprintf("2001:db8:%x::%x", r.IntN(2), 1+r.IntN(3)) }

func (r random) port() ruleset.Num { return pick[ruleset.Num](r, 22, 53, 80, 81, 443, 1024) }

// key is something to match on: where it is, one of its values, and one in a form that only == and != take.
type key struct {
	left   ruleset.Expr
	value  func() ruleset.Expr
	prefix func() ruleset.Expr // nil: none
	number bool                // has an order that people use
}

func (r random) key() key {
	address := func(proto, field string) key {
		one, bits := r.addr4, pick(r, 16, 24, 30, 31)
		if proto == "ip6" {
			one, bits = r.addr6, pick(r, 32, 48, 127)
		}
		value := func() ruleset.Expr { return ruleset.Str(one()) }
		return key{
			ruleset.Payload{Proto: proto, Field: field},
			value,
			func() ruleset.Expr { return ruleset.Prefix{Addr: ruleset.Str(networkOf(one(), bits)), Len: bits} }, false,
		}
	}
	port := func() ruleset.Expr { return r.port() }
	number := func(proto, field string, of ...ruleset.Num) key {
		return key{ruleset.Payload{Proto: proto, Field: field}, func() ruleset.Expr { return pick(r, of...) }, nil, true}
	}
	word := func(left ruleset.Expr, of ...string) key {
		return key{left, func() ruleset.Expr { return ruleset.Str(pick(r, of...)) }, nil, false}
	}
	if r.wide && r.IntN(3) == 0 {
		return r.wideKey(number, word)
	}
	switch r.IntN(18) {
	case 0, 1:
		return address("ip", pick(r, "saddr", "daddr"))
	case 2, 3:
		return address("ip6", pick(r, "saddr", "daddr"))
	case 4, 5, 6:
		return key{ruleset.Payload{Proto: pick(r, "tcp", "udp"), Field: pick(r, "sport", "dport")}, port, nil, true}
	case 7:
		return key{ruleset.Payload{Proto: "th", Field: pick(r, "sport", "dport")}, port, nil, true}
	case 8:
		return word(ruleset.Meta{Key: "l4proto"}, "tcp", "udp", "icmp", "ipv6-icmp")
	case 9:
		return word(ruleset.Meta{Key: "protocol"}, "ip", "ip6", "arp")
	case 10:
		return word(ruleset.Payload{Proto: "ip", Field: "protocol"}, "tcp", "udp", "icmp")
	case 11:
		return word(ruleset.Payload{Proto: "ip6", Field: "nexthdr"}, "tcp", "udp", "ipv6-icmp", "ipv6-opts")
	case 12:
		return number(pick(r, "ip", "ip6"), "dscp", 0, 8, 46)
	case 13:
		return number("ip", "ttl", 1, 63, 64)
	case 14:
		return word(ruleset.Payload{Proto: "ether", Field: "saddr"}, "02:00:00:00:00:01", "02:00:00:00:00:02")
	case 15:
		return number("vlan", "id", 10, 20)
	case 16:
		return key{ruleset.RawPayload{Base: "nh", Offset: 96, Len: 32}, func() ruleset.Expr {
			b := netip.MustParseAddr(r.addr4()).As4()
			return ruleset.Num(uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3]))
		}, nil, true}
	}
	return word(ruleset.Payload{Proto: "ether", Field: "type"}, "ip", "ip6", "8021q")
}

func networkOf(addr string, bits int) string {
	p, _ := netip.MustParseAddr(addr).Prefix(bits)
	return p.Addr().String()
}

// match is a random match; sets are named ones that it may use, with concatenations of ip saddr and tcp dport.
func (r random) match(sets []string) ruleset.Match {
	if r.IntN(12) == 0 && len(sets) > 0 {
		return ruleset.Match{Op: "==", Left: concatenation(), Right: ruleset.SetRef(pick(r, sets...))}
	}
	if r.IntN(14) == 0 {
		return r.flags()
	}
	if r.wide && r.IntN(8) == 0 {
		return r.wideMatch()
	}
	k := r.key()
	m := ruleset.Match{Op: pick(r, "==", "==", "==", "!="), Left: k.left}
	switch n := r.IntN(8); {
	case n < 3:
		m.Right = k.value()
	case n < 5:
		lit := ruleset.SetLit{}
		for range 1 + r.IntN(3) {
			lit = append(lit, k.value())
		}
		m.Right = lit
	case n < 6 && k.number:
		m.Op, m.Right = pick(r, "<", "<=", ">", ">="), k.value()
	case n < 7 && k.number:
		from, to := k.value().(ruleset.Num), k.value().(ruleset.Num)
		m.Right = ruleset.Range{From: min(from, to), To: max(from, to)}
	case k.prefix != nil:
		m.Right = k.prefix()
	default:
		m.Right = k.value()
	}
	return m
}

func concatenation() ruleset.Expr {
	return ruleset.Concat{ruleset.Payload{Proto: "ip", Field: "saddr"}, ruleset.Payload{Proto: "tcp", Field: "dport"}}
}

// flags is a match on bits under a mask.
func (r random) flags() ruleset.Match {
	of := ruleset.Payload{Proto: "tcp", Field: "flags"}
	if r.IntN(2) == 0 {
		return ruleset.Match{Op: "in", Left: of, Right: ruleset.List{ruleset.Str(pick(r, "syn", "rst")), ruleset.Str("ack")}}
	}
	mask := ruleset.Binary{Op: "|", Operands: []ruleset.Expr{ruleset.Str("syn"), ruleset.Str(pick(r, "ack", "rst"))}}
	return ruleset.Match{
		Op: pick(r, "==", "!="), Left: ruleset.Binary{Op: "&", Operands: []ruleset.Expr{of, mask}}, Right: ruleset.Str("syn"),
	}
}

// ruleset is a netdev ingress chain of random rules, with chains to jump to and a set of concatenations.
func (r random) ruleset(rules int, jumps bool) *ruleset.Ruleset {
	t := &ruleset.Table{Family: ruleset.Netdev, Name: "t"}
	for i := range 2 {
		s := &ruleset.Set{Family: t.Family, Table: t.Name, Name: fmt.Sprint("s", i), Type: []string{"ipv4_addr", "inet_service"}}
		for range r.IntN(4) {
			s.Elems = append(s.Elems, ruleset.Concat{ruleset.Str(r.addr4()), r.port()})
		}
		t.Sets = append(t.Sets, s)
	}
	if r.wide {
		t.Sets = append(t.Sets, r.wideSets(t)...)
	}
	base := &ruleset.Chain{Family: t.Family, Table: t.Name, Name: "ingress", Base: &ruleset.Base{
		Type: "filter", Hook: "ingress", Priority: 0, Policy: pick(r, "accept", "accept", "drop"), Devices: []string{"eth0"},
	}}
	t.Chains = append(t.Chains, base)
	if jumps {
		for _, name := range []string{"a", "b"} {
			t.Chains = append(t.Chains, &ruleset.Chain{Family: t.Family, Table: t.Name, Name: name})
		}
	}
	for i, c := range t.Chains {
		n := rules
		if i > 0 {
			n = 1 + r.IntN(4)
		}
		for range n {
			targets := []string{}
			for _, later := range t.Chains[i+1:] {
				targets = append(targets, later.Name)
			}
			c.Rules = append(c.Rules, r.rule(c, targets))
		}
	}
	return &ruleset.Ruleset{Tables: []*ruleset.Table{t}}
}

func (r random) rule(c *ruleset.Chain, targets []string) *ruleset.Rule {
	rule := &ruleset.Rule{Family: c.Family, Table: c.Table, Chain: c.Name, Index: len(c.Rules), Handle: len(c.Rules) + 1}
	add := func(s ...ruleset.Stmt) { rule.Stmts = append(rule.Stmts, s...) }
	for range r.IntN(3) {
		add(r.match([]string{"s0", "s1"}))
	}
	if r.IntN(3) == 0 {
		add(ruleset.Counter{})
	}
	if r.IntN(4) == 0 {
		add(r.match(nil))
	}
	if r.IntN(8) == 0 {
		add(ruleset.Action{Kind: "log"})
	}
	if len(targets) > 0 && r.IntN(4) == 0 {
		kind := pick(r, ruleset.Jump, ruleset.Jump, ruleset.Goto)
		if r.IntN(3) == 0 {
			add(r.verdictMap(pick(r, targets...)))
			return rule
		}
		add(ruleset.Verdict{Kind: kind, Target: pick(r, targets...)})
		return rule
	}
	if r.wide && r.IntN(5) == 0 {
		add(r.wideEnd())
		return rule
	}
	switch r.IntN(12) {
	case 0:
	case 1, 2, 3:
		add(ruleset.Verdict{Kind: ruleset.Accept})
	case 4:
		add(ruleset.Verdict{Kind: ruleset.Return})
	case 5:
		add(ruleset.Fwd{Dev: ruleset.Str("eth1")})
	default:
		add(ruleset.Verdict{Kind: ruleset.Drop})
	}
	return rule
}

func (r random) verdictMap(target string) ruleset.Stmt {
	verdict := func() ruleset.Expr {
		return pick(r, ruleset.Verdict{Kind: ruleset.Drop}, ruleset.Verdict{Kind: ruleset.Accept}, ruleset.Verdict{Kind: ruleset.Jump, Target: target})
	}
	lit := ruleset.SetLit{}
	for _, p := range []ruleset.Num{22, 53, 80} {
		lit = append(lit, ruleset.Pair{Key: p, Data: verdict()})
	}
	return ruleset.VMap{Key: ruleset.Payload{Proto: pick(r, "tcp", "udp"), Field: "dport"}, Data: lit}
}

// What hardware may not see of a packet.
const (
	seesAll       = iota
	noTransport   // behind IPv6 extension headers, in fragments
	noProtocol    // nor which transport protocol it is
	nothingTagged // nothing behind a VLAN tag, for filters that do not ask for tags
)

// packet is a random frame, and how much hardware may see of it.
func (r random) packet() (frame []byte, sees []int) {
	sees = []int{seesAll}
	src, dst := r.addr4(), r.addr4()
	six := r.IntN(3) == 0
	if six {
		src, dst = r.addr6(), r.addr6()
	}
	proto := pick[uint8](r, packet.TCP, packet.TCP, packet.UDP, packet.UDP, 1, 58)
	s := packet.New(packet.Tuple{
		Src: netip.AddrPortFrom(netip.MustParseAddr(src), uint16(r.port())),
		Dst: netip.AddrPortFrom(netip.MustParseAddr(dst), uint16(r.port())), Proto: proto,
	}, make([]byte, 8+r.IntN(20)))
	s.Src[0], s.Src[5] = 2, byte(1+r.IntN(2))
	s.TTL, s.TOS = pick[uint8](r, 1, 63, 64), pick[uint8](r, 0, 8, 46)<<2
	s.Flags = pick(r, packet.SYN, packet.ACK, packet.SYN|packet.ACK, packet.RST|packet.ACK, packet.ACK|packet.PSH)
	if r.IntN(4) == 0 {
		s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: pick[uint16](r, 10, 20)}}
		sees = append(sees, nothingTagged)
	}
	switch {
	case r.IntN(6) != 0:
	case six:
		s.Extensions = []packet.Extension{{Proto: 60, Body: make([]byte, 6)}}
		sees = append(sees, noTransport, noProtocol)
	default:
		s.DF, s.MF, s.FragOffset = false, true, pick[uint16](r, 0, 0, 3)
		sees = append(sees, noTransport, noProtocol)
	}
	return s.Build(), sees
}
