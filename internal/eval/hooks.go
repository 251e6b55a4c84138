package eval

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Hook is a place in the network stack where chains are asked.
type Hook string

// The hooks, as nft names them.
const (
	Ingress     Hook = "ingress"
	Prerouting  Hook = "prerouting"
	Input       Hook = "input"
	Forward     Hook = "forward"
	Output      Hook = "output"
	Postrouting Hook = "postrouting"
	Egress      Hook = "egress"
)

// Priorities of hooks that are not of nftables (include/uapi/linux/netfilter_ipv4.h).
const (
	priorityConntrack = -200
	priorityDNAT      = -100
	prioritySNAT      = 100
)

// Run says what the ruleset does with a packet, and counts it.
func (e *Evaluator) Run(p Packet) Result {
	res := Result{Outcome: Accepted}
	r := &run{e: e, p: p, res: &res, ct: p.CT}
	if p.Route == RouteOutput {
		r.s = outgoing(p)
	} else {
		var why string
		if r.s, why = receive(p); r.s == nil {
			res.Outcome, res.Why = Lost, why
			return res
		}
	}
	r.journey()
	return res
}

// outgoing is a packet that this host sends: the link header does not exist before postrouting.
func outgoing(p Packet) *skb {
	s, _ := receive(p)
	if s == nil {
		s = &skb{data: slices.Clone(p.Frame), bare: true}
	}
	return s
}

// journey takes the packet through the hooks of its route, in the kernel's order, until one does not accept it.
func (r *run) journey() {
	p := &r.p
	if p.Route != RouteOutput {
		if !r.at(Ingress, pfNetdev, p.In, nil) || p.Route == RouteIngress {
			return
		}
	}
	if p.In != nil && p.In.Bridge != nil && p.Route != RouteOutput {
		if !r.bridge() {
			return
		}
	}
	in := p.In
	if in != nil && in.Bridge != nil {
		in = in.Bridge
	}
	r.inet(in)
}

// bridge takes the packet through the hooks of the bridge family and reports whether it goes up to the host.
func (r *run) bridge() bool {
	r.bridged = true
	if !r.at(Prerouting, pfBridge, r.p.In, nil) || r.p.Route == RouteUnknown {
		return false
	}
	if r.p.Route != RouteBridge {
		return r.at(Input, pfBridge, r.p.In, nil) && r.at(Ingress, pfNetdev, r.p.In.Bridge, nil)
	}
	if r.at(Forward, pfBridge, r.p.In, r.p.Out) && r.at(Postrouting, pfBridge, nil, r.p.Out) {
		r.egress()
	}
	return false
}

// inet takes the packet through the hooks of IPv4, IPv6 or ARP.
func (r *run) inet(in *Device) {
	pf, why := r.arrive()
	if why != "" {
		r.res.Outcome, r.res.Why = Lost, why
		return
	}
	switch {
	case pf == 0:
		return // another protocol: nobody else is asked
	case pf == pfARP:
		r.at(Input, pf, in, nil)
		return
	case r.p.Route == RouteOutput:
		if r.at(Output, pf, nil, r.p.Out) && r.at(Postrouting, pf, nil, r.p.Out) {
			r.egress()
		}
		return
	}
	if !r.at(Prerouting, pf, in, nil) {
		return
	}
	switch r.p.Route {
	case RouteInput:
		if pf == pfIPv4 && binary.BigEndian.Uint16(r.s.data[r.s.net+6:])&0x3fff != 0 {
			r.res.Outcome, r.res.Why = Lost, "a fragment waits for the others before the input hook"
			return
		}
		r.at(Input, pf, in, nil)
	case RouteForward:
		if why := r.s.countDown(); why != "" {
			r.res.Outcome, r.res.Why = Lost, why
			return
		}
		if r.at(Forward, pf, in, r.p.Out) && r.at(Postrouting, pf, in, r.p.Out) {
			r.egress()
		}
	case RouteUnknown:
		if r.later(Input, Forward, Postrouting) {
			r.place = Place{}
			r.missing(FactRouting, "route")
			r.res.Outcome, r.res.Why = Unknown, "it is not known whether the packet is for this host"
		}
	case RouteOutput, RouteBridge, RouteIngress:
	}
}

func (r *run) egress() {
	if r.p.Out != nil {
		r.s.head = true
		r.at(Egress, pfNetdev, nil, r.p.Out)
	}
}

// later reports whether chains wait at one of some hooks.
func (r *run) later(hooks ...Hook) bool {
	return slices.ContainsFunc(r.e.chains, func(c *chain) bool {
		return c.chain.Family != ruleset.Bridge && slices.Contains(hooks, Hook(c.chain.Base.Hook))
	})
}

// arrive does what ip_rcv, ipv6_rcv and arp_rcv do before their hooks: packets that are for another host or malformed
// get no further, and what is behind the packet's end is cut off. The family is 0 for other protocols.
func (r *run) arrive() (pf int, why string) {
	s := r.s
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
	if s.tagged && binary.BigEndian.Uint16(s.data[packet.EthernetLen:])&0xfff != 0 {
		return pf, "the packet has a VLAN tag, and the device is not that VLAN's"
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
	switch {
	case h[0]>>4 != 6:
		return "the IPv6 header has a wrong version"
	case length > len(h):
		return "the payload length of the IPv6 packet does not fit"
	case h[8] == 0xff:
		return "the IPv6 source address is multicast"
	}
	s.data = s.data[:s.net+length]
	return ""
}

// countDown takes one from TTL or hop limit, as routing does before the forward hook.
func (s *skb) countDown() string {
	const ttl, ttlWord, checksum, hopLimit = 8, 8, 10, 7
	h := s.data[s.net:]
	at := ttl
	if s.protocol == packet.EtherTypeIPv6 {
		at = hopLimit
	}
	if h[at] <= 1 {
		return "the packet's TTL is used up"
	}
	before := sumWords(h[ttlWord : ttlWord+2])
	h[at]--
	if at == ttl {
		s.adjust(s.net+checksum, before, sumWords(h[ttlWord:ttlWord+2]))
	}
	return ""
}

// at asks the chains of a hook and reports whether the packet goes on.
func (r *run) at(h Hook, pf int, in, out *Device) bool {
	r.hook, r.in, r.out = h, in, out
	r.s.look(pf)
	r.translated = false
	for _, c := range r.e.chainsAt(h, pf, in, out) {
		// The conntrack hook came before chains of its own priority when it was registered by a rule of theirs.
		if pf == pfIPv4 || pf == pfIPv6 {
			r.tracked = r.tracked || h != Prerouting && h != Output || effective(c) >= priorityConntrack
		}
		if c.chain.Base.Type == "nat" && !r.asksNAT() {
			continue
		}
		res := r.walk(r.e.rules.Table(c.chain.Family, c.chain.Table), c)
		r.res.Chains = append(r.res.Chains, res)
		if res.Outcome != Accepted {
			r.res.Outcome = res.Outcome
			if res.Outcome == Unknown && len(r.res.Missing) > 0 {
				m := r.res.Missing[len(r.res.Missing)-1]
				r.res.Why = m.Place.String() + " needs to know: " + m.What
			}
			return false
		}
	}
	return true
}

// asksNAT reports whether the packet comes to nat chains: only the first of a connection does, and only until one
// translates it.
func (r *run) asksNAT() bool {
	if r.translated || r.untracked {
		return false
	}
	return r.ct == nil || r.ct.State&(StateNew|StateRelated) != 0
}

// chainsAt are the base chains of a hook, in the order the kernel asks them. Chains of one priority are asked from the
// last registered to the first (net/netfilter/core.c, nf_hook_entries_grow); that a ruleset's order of listing is the
// order of registration is an assumption.
func (e *Evaluator) chainsAt(h Hook, pf int, in, out *Device) []*chain {
	var at []*chain
	for _, c := range e.chains {
		if Hook(c.chain.Base.Hook) == h && concerns(c.chain, pf) && onDevice(c.chain, h, in, out) {
			at = append(at, c)
		}
	}
	slices.SortStableFunc(at, func(a, b *chain) int {
		return cmp.Or(cmp.Compare(effective(a), effective(b)), cmp.Compare(a.chain.Base.Priority, b.chain.Base.Priority),
			cmp.Compare(b.seq, a.seq))
	})
	return at
}

// effective is the priority at which a chain is asked. Chains of type nat hang below one hook of the NAT core, whose
// priority is fixed (net/netfilter/nf_nat_proto.c); their own orders them among each other.
func effective(c *chain) int {
	if c.chain.Base.Type != "nat" {
		return c.chain.Base.Priority
	}
	switch Hook(c.chain.Base.Hook) {
	case Prerouting, Output:
		return priorityDNAT
	case Input, Postrouting, Forward, Ingress, Egress:
	}
	return prioritySNAT
}

// concerns reports whether a chain's family has hooks in a family of packets.
func concerns(c *ruleset.Chain, pf int) bool {
	switch c.Family {
	case ruleset.Inet:
		return pf == pfIPv4 || pf == pfIPv6 || pf == pfNetdev
	case ruleset.IP:
		return pf == pfIPv4
	case ruleset.IP6:
		return pf == pfIPv6
	case ruleset.ARP:
		return pf == pfARP
	case ruleset.Bridge:
		return pf == pfBridge
	case ruleset.Netdev:
		return pf == pfNetdev
	}
	return false
}

// onDevice reports whether a chain of devices is on that of the hook. Where the listing has left the devices out, it
// is taken to be.
func onDevice(c *ruleset.Chain, h Hook, in, out *Device) bool {
	dev := in
	if h == Egress {
		dev = out
	}
	if h != Ingress && h != Egress || len(c.Base.Devices) == 0 {
		return true
	}
	return dev != nil && slices.ContainsFunc(c.Base.Devices, func(d string) bool {
		return name(d, len(d)).has(name(dev.Name, len(d)).lo) && (d == dev.Name || d[len(d)-1] == '*')
	})
}
