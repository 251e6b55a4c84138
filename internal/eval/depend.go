package eval

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// payload compiles a header field, with the conditions that nft puts before it: `tcp dport` asks for meta l4proto tcp,
// `ip saddr` in inet for meta nfproto ipv4.
func (c *compiler) payload(e ruleset.Payload) (operand, error) {
	fs := fields(e.Proto)
	fd, ok := fs[e.Field]
	if !ok || e.Extra["tunnel"] != nil {
		return operand{}, fmt.Errorf("%s %s: %w", e.Proto, e.Field, errNotKnown)
	}
	c.need(e.Proto)
	c.needType(e.Proto, e.Field)
	return one(fd.load(), fd.typ), nil
}

// need puts the conditions for a header before the statement, unless the rule has asked already.
func (c *compiler) need(proto string) {
	switch proto {
	case "ether":
		c.needLink()
	case "vlan":
		c.needLink()
		if c.link != "vlan" {
			c.condition(f("ll", 96, 16, "ether_type").load(), uint64(packet.EtherTypeVLAN))
			c.link = "vlan"
		}
	case "ip", "ip6":
		c.needNetwork(proto, false)
	case "arp":
		c.needNetwork(proto, true)
	case "th":
	case "icmp", "igmp":
		c.needICMP(proto, "ip")
	case "icmpv6":
		c.needICMP(proto, "ip6")
	default:
		c.needTransport(proto)
	}
}

// needLink asks for an Ethernet device where the family does not imply one.
func (c *compiler) needLink() {
	if c.link == "" {
		c.condition(metaLoad("iiftype"), arphrdEther)
		c.link = "ether"
	}
}

// needICMP asks for the family a protocol belongs to, if nothing is known of either.
func (c *compiler) needICMP(proto, network string) {
	if c.network == "" && c.transport != proto {
		c.needNetwork(network, true)
	}
	c.needTransport(proto)
}

// needNetwork asks for a network protocol: by the field of the link header that the rule has got to, or else by what
// the kernel knows. In the bridge family nft asks the kernel for fields of ip and ip6, and the frame (inFrame) for all else.
func (c *compiler) needNetwork(proto string, inFrame bool) {
	if c.network == proto {
		return
	}
	c.network = proto
	etherType, nfproto := uint64(packet.EtherTypeIPv4), uint64(pfIPv4)
	switch proto {
	case "ip6":
		etherType, nfproto = uint64(packet.EtherTypeIPv6), pfIPv6
	case "arp":
		etherType, nfproto = uint64(packet.EtherTypeARP), pfARP
	}
	switch {
	case c.link == "vlan":
		c.condition(f("ll", 128, 16, "ether_type").load(), etherType)
	case c.link == "ether" && (inFrame || c.table.Family != ruleset.Bridge):
		c.condition(f("ll", 96, 16, "ether_type").load(), etherType)
	case c.table.Family == ruleset.Inet:
		c.condition(metaLoad("nfproto"), nfproto)
	default:
		c.condition(metaLoad("protocol"), etherType)
	}
}

func (c *compiler) needTransport(proto string) {
	if c.transport == proto {
		return
	}
	if n, ok := protoNumber(proto); ok {
		c.condition(metaLoad("l4proto"), uint64(n))
	}
	c.transport = proto
}

// needType asks for the ICMP type that has the field, unless the rule asked for a type itself.
func (c *compiler) needType(proto, field string) {
	if field == "type" || c.icmpType {
		return
	}
	var types []uint64
	switch proto + " " + field {
	case "icmp id", "icmp sequence":
		types = []uint64{8, 0}
	case "icmp gateway":
		types = []uint64{5}
	case "icmp mtu":
		types = []uint64{3}
	case "icmpv6 id", "icmpv6 sequence":
		types = []uint64{128, 129}
	case "icmpv6 mtu":
		types = []uint64{2}
	case "icmpv6 parameter-problem":
		types = []uint64{4}
	case "icmpv6 max-delay":
		types = []uint64{130}
	default:
		return
	}
	c.icmpType = true
	c.condition(f("th", 0, 8, "icmp_type").load(), types...)
}

// condition breaks the rule unless a value is one of some numbers.
func (c *compiler) condition(l load, want ...uint64) {
	c.emit(func(r *run) status {
		v, st := l(r)
		if st != known {
			return st
		}
		for _, w := range want {
			if toUint(v) == w {
				return known
			}
		}
		return broke
	})
}

// learn notes what a match says about the headers, so that later statements do not ask again.
func (c *compiler) learn(m ruleset.Match) {
	if m.Op != "==" {
		return
	}
	switch l := m.Left.(type) {
	case ruleset.Payload:
		switch l.Proto + " " + l.Field {
		case "ether type", "vlan type":
			d := dtype{"ether_type", 16}
			c.learnNetwork(m.Right, d)
			if i, err := c.constant(m.Right, d); err == nil && l.Proto == "ether" && toUint(i.lo) == uint64(packet.EtherTypeVLAN) {
				c.link = "vlan"
			}
		case "ip protocol", "ip6 nexthdr":
			c.learnTransport(m.Right)
		case "icmp type", "icmpv6 type":
			c.icmpType = true
		}
	case ruleset.Meta:
		switch l.Key {
		case "protocol":
			c.learnNetwork(m.Right, dtype{"ether_type", 16})
		case "nfproto":
			c.learnNetwork(m.Right, dtype{"nf_proto", 8})
		case "l4proto":
			c.learnTransport(m.Right)
		case "iiftype":
			if i, err := c.constant(m.Right, dtype{"iface_type", 16}); err == nil && toUint(i.lo) == arphrdEther && c.link == "" {
				c.link = "ether"
			}
		}
	}
}

func (c *compiler) learnNetwork(e ruleset.Expr, d dtype) {
	i, err := c.constant(e, d)
	if err != nil {
		return
	}
	v := toUint(i.lo)
	switch {
	case d.name == "nf_proto" && v == pfIPv4, d.name != "nf_proto" && v == uint64(packet.EtherTypeIPv4):
		c.network = "ip"
	case d.name == "nf_proto" && v == pfIPv6, d.name != "nf_proto" && v == uint64(packet.EtherTypeIPv6):
		c.network = "ip6"
	case d.name != "nf_proto" && v == uint64(packet.EtherTypeARP):
		c.network = "arp"
	}
}

func (c *compiler) learnTransport(e ruleset.Expr) {
	i, err := c.constant(e, dtype{"inet_proto", 8})
	if err != nil {
		return
	}
	for _, p := range []string{"tcp", "udp", "udplite", "sctp", "dccp", "ah", "esp", "comp", "icmp", "icmpv6", "igmp"} {
		if n, _ := protoNumber(p); uint64(n) == toUint(i.lo) {
			c.transport = p
		}
	}
}

// load reads the field from the packet. Reading past the end of the packet breaks the rule (nft_payload_eval).
func (f field) load() load {
	first, last := f.offset/8, (f.offset+f.typ.bits+7)/8
	below := last*8 - f.offset - f.typ.bits // bits of the last byte that are not the field's
	return func(r *run) ([]byte, status) {
		at, ok := r.s.fastBase(f.base, last-first)
		if !ok {
			return nil, broke
		}
		b, ok := r.s.bytes(at+first, last-first)
		if !ok {
			return nil, broke
		}
		if f.base == "ll" {
			b = r.s.rebuilt(b, first)
		}
		if f.typ.bits%8 == 0 && below == 0 {
			return b, known
		}
		v := cutBits(shift(b, below, false), f.typ.bits)
		return v[len(v)-f.typ.bytes():], known
	}
}
