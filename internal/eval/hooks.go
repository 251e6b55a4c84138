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
	if mac := r.p.In.Bridge.MAC; mac != nil && !r.s.bare && packet.MAC(r.s.data) == *mac {
		host := uint8(pktHost) // whatever a rule of the port has set (net/bridge/br_input.c, br_handle_frame)
		r.p.Type = &host
	}
	if !r.at(Prerouting, pfBridge, r.p.In, nil) {
		return false
	}
	if r.goesUp() {
		return r.at(Input, pfBridge, r.p.In, nil) && r.at(Ingress, pfNetdev, r.p.In.Bridge, nil)
	}
	if r.p.Route == RouteBridge && r.at(Forward, pfBridge, r.p.In, r.p.Out) && r.at(Postrouting, pfBridge, r.p.In, r.p.Out) {
		r.egress()
	}
	return false
}

// goesUp reports whether a bridge gives the frame to its own host: by the route, or else by the frame's address.
func (r *run) goesUp() bool {
	switch r.p.Route {
	case RouteInput, RouteForward:
		return true
	case RouteUnknown:
		t, ok := r.addressed()
		return ok && t != pktOther
	case RouteBridge, RouteOutput, RouteIngress:
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
		why := r.s.countDown()
		r.prioritize()
		if t, ok := r.pktType(); ok && t != pktHost {
			why = "a packet that came as broadcast or multicast, or for another host, is not forwarded"
		}
		if why != "" {
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

// prioritize sets skb->priority of a forwarded IPv4 packet by its TOS (net/ipv4/ip_forward.c, rt_tos2priority; the
// sysctl ip_forward_update_priority is on unless somebody turned it off).
func (r *run) prioritize() {
	if r.s.protocol != packet.EtherTypeIPv4 {
		return
	}
	const bulk, interactiveBulk, interactive = 2, 4, 6 // TC_PRIO_*
	switch r.s.data[r.s.net+1] >> 3 & 3 {
	case 0:
		r.p.Priority = 0
	case 1:
		r.p.Priority = bulk
	case 2:
		r.p.Priority = interactive
	case 3:
		r.p.Priority = interactiveBulk
	}
}

// at asks the chains of a hook and reports whether the packet goes on.
func (r *run) at(h Hook, pf int, in, out *Device) bool {
	r.hook, r.in, r.out = h, in, out
	r.s.look(pf)
	r.translated = false
	for _, c := range r.e.chainsAt(h, pf, in, out) {
		if h == Ingress {
			asked, ok := r.lookIngress(c)
			if !ok {
				r.res.Chains = append(r.res.Chains, ChainResult{Hook: h, Chain: c.chain, Outcome: Dropped})
				r.res.Outcome, r.res.Why = Dropped, "an ingress hook of the inet family drops malformed packets"
				return false
			}
			if !asked {
				continue
			}
		}
		// The conntrack hook came before chains of its own priority when it was registered by a rule of theirs.
		if pf == pfIPv4 || pf == pfIPv6 {
			r.tracked = r.tracked || h != Prerouting && h != Output || effective(c) >= priorityConntrack
		}
		if c.chain.Base.Type == "nat" {
			if r.ct == nil && !r.untracked && !r.translated && len(c.rules) > 0 {
				r.place = Place{}
				r.missing(FactConntrack, "ct state")
				r.res.Outcome, r.res.Why = Unknown, "only the first packet of a connection comes to nat chains: is it the first?"
				return false
			}
			if !r.asksNAT() {
				continue
			}
		}
		before := len(r.res.Steps)
		res := r.walk(r.e.rules.Table(c.chain.Family, c.chain.Table), c)
		res.Steps = len(r.res.Steps) - before
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

// lookIngress sets what the packet is for a chain at the ingress hook, and reports whether the chain is asked. In the
// inet family it is asked about IPv4 and IPv6 only, as a packet of these, and malformed ones are dropped: then ok is
// false (net/netfilter/nft_chain_filter.c, nft_do_chain_inet_ingress).
func (r *run) lookIngress(c *chain) (asked, ok bool) {
	r.s.look(pfNetdev)
	if c.chain.Family != ruleset.Inet {
		return true, true
	}
	switch r.s.protocol {
	case packet.EtherTypeIPv4:
		r.s.pf = pfIPv4
	case packet.EtherTypeIPv6:
		r.s.pf = pfIPv6
	default:
		return false, true
	}
	return true, r.s.l4
}

// asksNAT reports whether the packet comes to nat chains: only the first of a connection does, and only until one
// translates it.
func (r *run) asksNAT() bool {
	if r.translated || r.untracked {
		return false
	}
	return r.ct != nil && r.ct.State&(StateNew|StateRelated) != 0
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
		return d != "" && name(d, len(d)).has(name(dev.Name, len(d)).lo) && (d == dev.Name || d[len(d)-1] == '*')
	})
}
