package cond

import (
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// EtherTypes (include/uapi/linux/if_ether.h).
const (
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherIPv6   = 0x86dd
	etherVLAN   = 0x8100
	etherQinQ   = 0x88a8
	tagBits     = 32
	typeAt      = 96 // of an Ethernet header
	typeBits    = 16
	linkHeader  = 1
	firstTag    = 2
	icmpTypeLen = 8
)

// payload compiles a header's field, behind what nft asks for before it: that there is such a header (src/payload.c
// payload_gen_dependency).
func (c *compiler) payload(e ruleset.Payload) (operand, *Refusal) {
	f, t, ok := space.Payload(e)
	if !ok {
		return operand{}, refuse(reason.MatchNotEarly, e.Proto+" "+e.Field)
	}
	if no := c.header(e.Proto); no != nil {
		return operand{}, no
	}
	c.typeOfICMP(e)
	if e.Proto == "vlan" {
		f.Off += tagBits * (c.link - firstTag)
	}
	return operandOf(f, t), nil
}

// header asks for a header, unless the rule has asked already.
func (c *compiler) header(proto string) *Refusal {
	switch proto {
	case "ether":
		return c.ether()
	case "vlan":
		if no := c.ether(); no != nil {
			return no
		}
		if c.link < firstTag {
			c.need(c.linkType(), etherVLAN)
			c.link = firstTag
		}
	case "ip", "ip6", "arp":
		c.networkHeader(proto)
	case "th":
	case "icmp":
		c.icmp(proto, "ip")
	case "igmp":
		c.icmp(proto, "ip")
	case "icmpv6":
		c.icmp(proto, "ip6")
	default:
		c.transportHeader(proto)
	}
	return nil
}

// ether asks for a device of Ethernet.
func (c *compiler) ether() *Refusal {
	if c.link > 0 {
		return nil
	}
	if !c.Ethernet {
		return refuse(reason.MatchNotEarly, "the Ethernet header of a device that may have none")
	}
	c.link = linkHeader
	return nil
}

// linkType is the type in the innermost link header that was asked for.
func (c *compiler) linkType() space.Field {
	return space.Field{Base: space.Link, Off: typeAt + tagBits*(c.link-linkHeader), Len: typeBits}
}

// icmp asks for a protocol that belongs to a network protocol.
func (c *compiler) icmp(proto, network string) {
	if c.network == "" && c.transport != proto {
		c.networkHeader(network)
	}
	c.transportHeader(proto)
}

// networkHeader asks the link header that the rule has got to, or else what the kernel knows.
func (c *compiler) networkHeader(proto string) {
	if c.network == proto {
		return
	}
	c.network = proto
	number := map[string]uint64{"ip": etherIPv4, "ip6": etherIPv6, "arp": etherARP}[proto]
	if c.link > 0 {
		c.need(c.linkType(), number)
		return
	}
	c.need(space.L3Proto(), number) // in family inet nft asks for meta nfproto, which says the same there
}

func (c *compiler) transportHeader(proto string) {
	if c.transport == proto {
		return
	}
	if n, ok := space.TransportNumber(proto); ok {
		c.need(space.L4Proto(), n)
	}
	c.transport = proto
}

// typeOfICMP asks for the types of ICMP that have a field, unless the rule has asked for a type.
func (c *compiler) typeOfICMP(e ruleset.Payload) {
	if e.Field == "type" || c.icmpType {
		return
	}
	var types []uint64
	switch e.Proto + " " + e.Field {
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
	c.need(space.Field{Base: space.Transport, Len: icmpTypeLen}, types...)
}

// learn notes what a match says about the headers, so that later ones do not ask again.
func (c *compiler) learn(m ruleset.Match) {
	if m.Op != "==" {
		return
	}
	t, ok := ruleset.TypeOf(m.Left, nil)
	if !ok {
		return
	}
	single, one := space.Value{}, false
	if in, ok := space.ValuesOf(t, t.Bits, m.Right); ok {
		single, one = in.Single()
	}
	switch l := m.Left.(type) {
	case ruleset.Payload:
		switch l.Proto + " " + l.Field {
		case "ether type", "vlan type":
			if one {
				c.learnType(single.Lo)
			}
		case "ip protocol", "ip6 nexthdr":
			if one {
				c.learnTransport(single.Lo)
			}
		case "icmp type", "icmpv6 type":
			c.icmpType = true
		}
	case ruleset.Meta:
		if one {
			c.learnMeta(l.Key, single.Lo)
		}
	}
}

// learnType notes the type in a link header.
func (c *compiler) learnType(v uint64) {
	if v == etherVLAN || v == etherQinQ {
		c.link++
	}
	c.learnNetwork(v)
}

func (c *compiler) learnMeta(key string, v uint64) {
	const nfIPv4, nfIPv6 = 2, 10 // include/uapi/linux/netfilter.h
	switch key {
	case "protocol":
		c.learnNetwork(v)
	case "nfproto":
		switch v {
		case nfIPv4:
			c.network = "ip"
		case nfIPv6:
			c.network = "ip6"
		}
	case "l4proto":
		c.learnTransport(v)
	case "iiftype":
		if v == arphrdEther {
			c.link = max(c.link, linkHeader)
		}
	}
}

func (c *compiler) learnNetwork(v uint64) {
	switch v {
	case etherIPv4:
		c.network = "ip"
	case etherIPv6:
		c.network = "ip6"
	case etherARP:
		c.network = "arp"
	}
}

func (c *compiler) learnTransport(v uint64) {
	for _, proto := range []string{"tcp", "udp", "udplite", "sctp", "dccp", "ah", "esp", "comp", "icmp", "icmpv6", "igmp"} {
		if n, _ := space.TransportNumber(proto); n == v {
			c.transport = proto
		}
	}
}
