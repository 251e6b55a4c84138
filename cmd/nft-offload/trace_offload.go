package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// offloaded is what a flowtable does with a packet's flow, and with packets like it once it has the flow.
type offloaded struct {
	Flowtable string `json:"flowtable"` // "inet filter f"
	// Rule with `flow add` that the packet came to: "inet filter forward rule 2". Empty: none; its flow is established, and
	// the flowtable is on its device.
	Rule string `json:"rule,omitempty"`
	// Flow is why `flow add` does not take the flow; none: it does. Only with a rule.
	Flow *because `json:"flow,omitempty"`
	// Hardware is why a flow in a flowtable with `flags offload` is not carried by a device; none: nothing is known.
	Hardware *because `json:"hardware,omitempty"`
	// Carried says that a packet like this is carried while the flowtable has the flow, Packet why it is not. Neither is
	// there where the flowtable will not have the flow.
	Carried bool     `json:"carried,omitempty"`
	Packet  *because `json:"packet,omitempty"`
}

// because is a reason with its sentence.
type because struct {
	Code   reason.Reason `json:"code"`
	Text   string        `json:"text"`
	Remedy string        `json:"remedy,omitempty"`
}

func becauseOf(r reason.Reason) *because {
	if r == reason.None {
		return nil
	}
	i := r.Info()
	return &because{r, i.Text, i.Advice()}
}

func (b *because) String() string { return fmt.Sprintf("[%s] %s", b.Code, b.Text) }

// offloads judges the flowtables that a packet's way has to do with.
func (t tracer) offloads(p eval.Packet, res eval.Result) []offloaded {
	var out []offloaded
	known := map[*ruleset.Flowtable]bool{}
	for _, s := range res.Steps {
		f := t.adds(s)
		if f == nil || known[f] {
			continue
		}
		known[f] = true
		rule := fmt.Sprintf("%s %s %s rule %d", s.Rule.Family, s.Rule.Table, s.Rule.Chain, s.Rule.Index+1)
		out = append(out, t.offload(f, rule, p))
	}
	if p.In == nil || p.CT == nil || p.CT.State != eval.StateEstablished {
		return out
	}
	for _, table := range t.rs.Tables {
		for _, f := range table.Flowtables {
			if !known[f] && slices.Contains(f.Devices, contract.Down(t.machine, p.In.Name).Lowest) {
				out = append(out, t.offload(f, "", p))
			}
		}
	}
	return out
}

// adds is the flowtable that a step hands the flow to, or nil. A `flow add` that does not take the flow ends the rule.
func (t tracer) adds(s eval.Step) *ruleset.Flowtable {
	if s.Hook != eval.Forward {
		return nil
	}
	for _, stmt := range s.Rule.Stmts[:min(s.Reached+1, len(s.Rule.Stmts))] {
		add, ok := stmt.(ruleset.FlowAdd)
		if !ok {
			continue
		}
		if table := t.rs.Table(s.Rule.Family, s.Rule.Table); table != nil {
			return table.Flowtable(add.Flowtable)
		}
	}
	return nil
}

func (t tracer) offload(f *ruleset.Flowtable, rule string, p eval.Packet) offloaded {
	o := offloaded{Flowtable: fmt.Sprintf("%s %s %s", f.Family, f.Table, f.Name), Rule: rule}
	like, ok := contract.Frame(p.Frame, p.Bare)
	if !ok {
		return o
	}
	flow := t.flow(f, like, p)
	refused := reason.None
	if rule != "" {
		refused = flow.Refused()
		o.Flow = becauseOf(refused)
	}
	if refused == reason.None && slices.Contains(f.Flags, "offload") {
		o.Hardware = becauseOf(t.hardware(flow, p))
	}
	if !passing(refused) {
		return o
	}
	if out := p.Out; out != nil {
		d, _ := t.machine.Device(out.Name)
		like.MTU = d.MTU
	}
	o.Packet = becauseOf(like.Slow(t.machine.Kernel.Version))
	o.Carried = o.Packet == nil
	return o
}

// passing reports whether a flow that is not taken now may be taken when its next packet comes.
func passing(r reason.Reason) bool {
	switch r {
	case reason.None, reason.FlowUnconfirmed, reason.FlowTCPNotEstablished, reason.FlowTCPNotAssured, reason.FlowTCPClosing,
		reason.FlowIPOptions, reason.FlowAlreadyOffloaded:
		return true
	default:
		return false
	}
}

// flow is what is known of the packet's flow when it comes to `flow add`.
func (t tracer) flow(f *ruleset.Flowtable, like contract.Packet, p eval.Packet) contract.Flow {
	c := contract.Flow{
		Proto: like.Proto, IPv6: like.IPv6, IPOptions: like.Options, GREVersion: like.GREVersion, GREKey: like.GREKey,
		Closing: like.FINorRST,
	}
	if h, err := packet.Decode(p.Frame); err == nil && !p.Bare {
		c.Proto = h.Tuple.Proto // behind extension headers, as conntrack has it
	}
	if p.In != nil {
		d, known := t.machine.Device(p.In.Name)
		c.IPsec = contract.IPsec(d.Kind)
		c.Path = contract.Down(t.machine, p.In.Name)
		if known && !slices.ContainsFunc(f.Devices, wildcard) {
			c.Path.Listed = f.Devices
		}
	}
	if p.Out != nil {
		d, _ := t.machine.Device(p.Out.Name)
		c.IPsecOut = contract.IPsec(d.Kind)
		c.Path = c.Path.With(contract.Down(t.machine, p.Out.Name))
	}
	ct := p.CT
	if ct == nil {
		return c
	}
	c.Untracked = ct.State&(eval.StateUntracked|eval.StateInvalid) != 0
	c.Unconfirmed = ct.State == eval.StateNew
	if ct.Helper != nil {
		c.Helper = *ct.Helper
	}
	if ct.Status == nil {
		return c
	}
	// Bits of enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h).
	const assured, srcNAT, dstNAT, seqAdjust, dying, natClash, offload = 2, 4, 5, 6, 9, 12, 14
	has := func(bit int) bool { return *ct.Status>>bit&1 != 0 }
	c.NotAssured, c.NAT = !has(assured), has(srcNAT) || has(dstNAT)
	c.SeqAdjust, c.Dying, c.NATClash, c.Offloaded = has(seqAdjust), has(dying), has(natClash), has(offload)
	return c
}

// wildcard reports whether a flowtable means devices by the beginning of their names.
func wildcard(device string) bool { return strings.Contains(device, "*") }

// hardware asks the profiles of both devices, as far as they have one.
func (t tracer) hardware(f contract.Flow, p eval.Packet) reason.Reason {
	for _, d := range []*eval.Device{p.In, p.Out} {
		if d == nil {
			continue
		}
		lowest, _ := t.machine.Device(contract.Down(t.machine, d.Name).Lowest)
		profile, ok := caps.ProfileOf(lowest)
		if !ok {
			continue
		}
		if r := f.NotInHardware(profile, t.machine.Kernel.Version); r != reason.None {
			return r
		}
	}
	return reason.None
}

// lines says it to a person.
func (o offloaded) lines() []string {
	var out []string
	if o.Rule != "" {
		line := fmt.Sprintf("%s hands the flow to flowtable %s, and ", o.Rule, o.Flowtable)
		if o.Flow != nil {
			line += fmt.Sprintf("the kernel does not take it: %s", o.Flow)
		} else {
			line += "nothing that is known keeps the kernel from taking it"
		}
		out = append(out, line)
	}
	if o.Hardware != nil {
		out = append(out, fmt.Sprintf("the flow is not carried in hardware: %s", o.Hardware))
	}
	switch {
	case o.Packet != nil:
		out = append(out, fmt.Sprintf("while flowtable %s has the flow, a packet like this stays slow: %s", o.Flowtable, o.Packet))
	case o.Carried:
		out = append(out, fmt.Sprintf("while flowtable %s has the flow, a packet like this is carried", o.Flowtable))
	}
	return out
}
