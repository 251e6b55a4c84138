package plan

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// wideKey is a key that only programs know.
func (r random) wideKey(
	number func(proto, field string, of ...ruleset.Num) key, word func(left ruleset.Expr, of ...string) key,
) key {
	switch r.IntN(14) {
	case 0:
		return word(ruleset.Meta{Key: "pkttype"}, "broadcast", "multicast", "broadcast", "host")
	case 1:
		return key{ruleset.Meta{Key: "length"}, func() ruleset.Expr { return pick[ruleset.Num](r, 28, 40, 50, 60, 64) }, nil, true}
	case 2:
		return number("vlan", pick(r, "pcp", "dei", "id"), 0, 1, 10)
	case 3:
		return word(ruleset.Payload{Proto: "vlan", Field: "type"}, "ip", "ip6", "arp", "8021q")
	case 4:
		return number("ip", pick(r, "length", "id", "frag-off", "version", "hdrlength", "ecn"), 0, 1, 4, 5, 40, 0x2000)
	case 5:
		return number("ip6", pick(r, "hoplimit", "flowlabel", "length"), 0, 1, 20, 63, 64)
	case 6:
		return number("tcp", pick(r, "sequence", "window", "doff", "ackseq"), 0, 1, 5, 65535)
	case 7:
		return number("icmp", pick(r, "type", "code", "id"), 0, 3, 8)
	case 8:
		return number("icmpv6", pick(r, "type", "code", "id"), 0, 128, 129)
	case 9:
		return number("udp", "length", 8, 16, 20)
	case 10:
		base, off, bits := pick(r, "ll", "nh", "th"), r.IntN(200), pick(r, 1, 3, 8, 12, 16, 32, 48)
		return key{ruleset.RawPayload{Base: base, Offset: off, Len: bits}, func() ruleset.Expr { return pick[ruleset.Num](r, 0, 1) }, nil, true}
	case 11:
		return word(ruleset.Meta{Key: pick(r, "iifname", "iif")}, "eth0", "eth1")
	case 12:
		return word(ruleset.Meta{Key: "iiftype"}, "ether")
	}
	return word(ruleset.Payload{Proto: "ether", Field: "daddr"}, "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01")
}

// wideMatch is a match of a form that only programs know.
func (r random) wideMatch() ruleset.Match {
	port := ruleset.Payload{Proto: pick(r, "tcp", "udp"), Field: pick(r, "sport", "dport")}
	of := func(op string, operands ...ruleset.Expr) ruleset.Expr {
		return ruleset.Binary{Op: op, Operands: operands}
	}
	switch r.IntN(7) {
	case 6:
		return ruleset.Match{Op: pick(r, "==", "!="), Left: ruleset.Payload{Proto: "ip", Field: pick(r, "saddr", "daddr")}, Right: ruleset.SetRef("addresses")}
	case 0:
		return ruleset.Match{Op: pick(r, "==", "!=", "<"), Left: of("&", port, pick[ruleset.Num](r, 0xff, 0x0f, 0xf0f)), Right: pick[ruleset.Num](r, 22, 80, 0)}
	case 1:
		return ruleset.Match{Op: pick(r, "==", "!="), Left: of("^", port, pick[ruleset.Num](r, 1, 0xff)), Right: r.port()}
	case 2:
		return ruleset.Match{Op: pick(r, "==", "!="), Left: of("|", port, pick[ruleset.Num](r, 1, 2)), Right: pick[ruleset.Num](r, 23, 81, 443, 53)}
	case 3:
		tos := of(">>", of("&", ruleset.RawPayload{Base: "nh", Offset: 8, Len: 8}, ruleset.Num(0xfc)), ruleset.Num(2))
		return ruleset.Match{Op: pick(r, "==", "!=", ">"), Left: of(pick(r, "&", "|"), tos, pick[ruleset.Num](r, 0x3c, 8, 2)), Right: pick[ruleset.Num](r, 8, 0, 44, 46, 10)}
	case 4:
		flags := []ruleset.Expr{ruleset.Str("fin"), ruleset.Str("syn"), ruleset.Str("rst"), ruleset.Str("ack"), ruleset.Str("psh")}
		r.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
		return ruleset.Match{Op: pick(r, "in", "!", "==", "!="), Left: ruleset.Payload{Proto: "tcp", Field: "flags"}, Right: ruleset.List(flags[:1+r.IntN(3)])}
	}
	from := ruleset.Prefix{Addr: ruleset.Str("10.0.0.0"), Len: pick(r, 8, 16, 23)}
	set := ruleset.SetLit{
		ruleset.Concat{from, r.port()}, ruleset.Concat{ruleset.Str(r.addr4()), ruleset.Range{From: ruleset.Num(22), To: ruleset.Num(80)}},
	}
	return ruleset.Match{Op: pick(r, "==", "!="), Left: concatenation(), Right: set}
}

// wideSets are named sets and maps: of addresses with prefixes, of ports with verdicts.
func (r random) wideSets(t *ruleset.Table) []*ruleset.Set {
	addresses := &ruleset.Set{Family: t.Family, Table: t.Name, Name: "addresses", Type: []string{"ipv4_addr"}, Flags: []string{"interval"}}
	for i := range r.IntN(3) {
		addresses.Elems = append(addresses.Elems, ruleset.Prefix{Addr: ruleset.Str(fmt.Sprintf("10.%d.0.0", i)), Len: pick(r, 16, 23, 30)})
	}
	out := []*ruleset.Set{addresses}
	for i := range 2 {
		m := &ruleset.Set{
			Family: t.Family, Table: t.Name, Name: fmt.Sprint("verdicts", i), Type: []string{"inet_service"}, IsMap: true,
			MapType: []string{"verdict"},
		}
		for _, p := range []ruleset.Num{22, 53, 80, 443} {
			if r.IntN(3) > 0 {
				m.Elems = append(m.Elems, ruleset.Pair{Key: p, Data: ruleset.Verdict{
					Kind: pick(r, ruleset.Drop, ruleset.Accept, ruleset.Return, ruleset.Continue),
				}})
			}
		}
		out = append(out, m)
	}
	return out
}

// wideEnd ends a rule in a map.
func (r random) wideEnd() ruleset.Stmt {
	port := ruleset.Payload{Proto: pick(r, "tcp", "udp"), Field: pick(r, "sport", "dport")}
	switch r.IntN(4) {
	case 0:
		return ruleset.VMap{Key: port, Data: ruleset.SetRef(pick(r, "verdicts0", "verdicts1"))}
	case 1:
		lit := ruleset.SetLit{
			ruleset.Pair{Key: ruleset.Num(22), Data: ruleset.Verdict{Kind: ruleset.Accept}},
			ruleset.Pair{Key: ruleset.Range{From: ruleset.Num(53), To: ruleset.Num(80)}, Data: ruleset.Verdict{Kind: pick(r, ruleset.Drop, ruleset.Continue)}},
			ruleset.Pair{Key: ruleset.Str("*"), Data: ruleset.Verdict{Kind: pick(r, ruleset.Drop, ruleset.Return)}},
		}
		return ruleset.VMap{Key: port, Data: lit}
	case 2:
		return ruleset.Fwd{Dev: ruleset.Map{Key: port, Data: ruleset.SetLit{
			ruleset.Pair{Key: ruleset.Num(22), Data: ruleset.Str("eth1")}, ruleset.Pair{Key: ruleset.Num(80), Data: ruleset.Str("eth0")},
		}}}
	}
	lit := ruleset.SetLit{}
	for range 3 {
		lit = append(lit, ruleset.Pair{Key: ruleset.Concat{ruleset.Str(r.addr4()), r.port()}, Data: ruleset.Verdict{Kind: pick(r, ruleset.Drop, ruleset.Accept)}})
	}
	return ruleset.VMap{Key: concatenation(), Data: lit}
}
