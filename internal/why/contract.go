package why

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// facts is what conntrack, the ruleset and the routing table tell of a flow that package contract asks for.
func (m Machine) facts(f Flow) contract.Flow {
	k := contract.Flow{
		Proto: f.Tuple.Proto, IPv6: !f.Tuple.Is4(), Local: f.Local, NoRule: !m.hands(), Untracked: f.Conn == nil,
	}
	c := f.Conn
	if c == nil {
		return k
	}
	k.NAT, k.Zone, k.Helper, k.TCPState = c.nat(), c.Zone, c.Helper, c.State
	k.Unconfirmed, k.NotAssured = !c.Bits.Confirmed, !c.Bits.Assured
	k.NoReply = k.Proto == packet.UDP && !c.Bits.SeenReply
	k.SeqAdjust, k.NATClash, k.Dying = c.Bits.SeqAdjust, c.Bits.NATClash, c.Bits.Dying
	if k.Proto == contract.GRE && (c.Orig.Src.Port() != 0 || c.Orig.Dst.Port() != 0) {
		k.GREVersion = 1 // what conntrack has in place of ports are the call IDs of PPTP
	}
	return k
}

// atFlowAdd is what is known besides of a flow whose packets come to the kernel's `flow add`.
func (m Machine) atFlowAdd(f Flow) contract.Flow {
	k := m.facts(f)
	in, out := m.link(f.In), m.link(f.Out)
	k.IPsec = in != nil && contract.IPsec(in.Kind) || f.sampled(reason.SeenIPsec)
	k.IPsecOut = out != nil && contract.IPsec(out.Kind)
	k.IPOptions = f.sampled(reason.SlowIPOptions)
	// The route that was asked for is one without a mark.
	k.NoReverseRoute = f.Conn != nil && f.Conn.Mark == 0 && f.Back != "" && f.In != "" && !m.sameWay(f.Back, f.In)
	k.NoNeighbor = f.NoNeighbor.IsValid()
	ms := m.caps()
	k.Path = contract.Down(ms, f.Out).With(contract.Down(ms, f.In))
	return k
}

// sampled reports whether the datapath saw packets of the flow lately that it refused for a reason.
func (f Flow) sampled(why reason.Reason) bool {
	for _, d := range f.Dirs {
		for _, r := range []*engine.Refused{d.Refused, d.Odd} {
			if r != nil && r.Code == why.Code() && r.Ago < engine.Seconds(recent) {
				return true
			}
		}
	}
	return false
}

// sameWay reports whether two devices are one, or stand on each other.
func (m Machine) sameWay(a, b string) bool {
	is := func(name string) func(*engine.Link) bool {
		return func(l *engine.Link) bool { return l.Name == name }
	}
	return a == b || slices.ContainsFunc(m.under(a), is(b)) || slices.ContainsFunc(m.under(b), is(a))
}

// caps are the devices as package contract asks for them.
func (m Machine) caps() caps.Machine {
	out := caps.Machine{Kernel: caps.Kernel{Version: m.Kernel}}
	for _, l := range m.Links {
		d := caps.Device{Name: l.Name, Kind: l.Kind, Driver: l.Driver, MTU: int(l.MTU)}
		if l.Kind == "vlan" {
			d.VLAN = &caps.VLAN{ID: int(l.VLAN), Protocol: l.VLANProtocol}
		}
		if l.Lower != "" {
			d.Lower = append(d.Lower, l.Lower)
		}
		for _, o := range m.Links {
			if o.Master == l.Name && l.Kind == "bridge" {
				d.Lower = append(d.Lower, o.Name)
			}
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

// untaken is said of a flow whose packets come to a rule with `flow add`, and that has no sign of it.
func (m Machine) untaken(f Flow, met Meeting) verdict {
	v := verdict{stage: NotHandedOver, reason: reason.FlowNoRule.Code()}
	if met.Lowered {
		v.sentence = "its packets come to a rule with `flow add`, but it gets no label: a connection that is older than the first rule that uses labels has no room for one"
		v.advice = advise("let the connection begin anew; new ones get labels")
		return v
	}
	r := m.atFlowAdd(f).Refused()
	said := fmt.Sprintf("its packets come to rule %s (`%s`), and the kernel ", met.Rule, met.Text)
	if r == reason.None {
		v.sentence = said + "has not taken it: there is no route back or no neighbor, the packets have IPv4 options, or memory is short"
		return v
	}
	i := r.Info()
	v.reason, v.advice = r.Code(), advise(i.Advice())
	v.sentence = said + "does not take it: " + i.Text
	switch r {
	case reason.FlowNoReverseRoute:
		v.sentence += fmt.Sprintf(" (%s, and by the routing table answers leave by %s)", f.In, f.Back)
	case reason.FlowNeighbour:
		v.sentence += fmt.Sprintf(" (%s)", f.NoNeighbor)
	default:
	}
	return v
}

// asked says that a flowtable asks for hardware, where one does, and why the flow is not there.
func (m Machine) asked(f Flow) string {
	if m.Rules == nil {
		return ""
	}
	for _, t := range m.Rules.Tables {
		i := slices.IndexFunc(t.Flowtables, func(f *ruleset.Flowtable) bool { return slices.Contains(f.Flags, "offload") })
		if i < 0 {
			continue
		}
		r := m.notInHardware(f)
		return fmt.Sprintf("; flowtable %s %s %s has `flags offload`: [%s] %s", t.Family, t.Name, t.Flowtables[i].Name, r, r.Info().Text)
	}
	return ""
}

// notInHardware asks the profiles of the drivers of both devices.
func (m Machine) notInHardware(f Flow) reason.Reason {
	ms := m.caps()
	var profiles []caps.Profile
	for _, name := range []string{f.In, f.Out} {
		d, ok := ms.Device(contract.Down(ms, name).Lowest)
		if p, known := caps.ProfileOf(d); ok && known {
			profiles = append(profiles, p)
		}
	}
	return m.atFlowAdd(f).Unseen(m.Kernel, profiles...)
}
