package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// tiers says what each tier would do on a device.
func (in Input) tiers(d caps.Device) Device {
	out := Device{Name: d.Name}
	if p, ok := in.profile(d); ok {
		out.Profile = p.Name
	}
	xdp, tc := in.fast(d)
	out.Tiers = []Tier{
		in.asked(d, in.hardwareRules(d), ProbeRule), in.asked(d, in.hardwareFlows(d), ProbeFlowtable), xdp, tc, in.flowtable(d),
		{Name: SlowPath, Can: caps.SupportYes, Why: "every packet that no other tier takes"},
	}
	return out
}

// asked puts the driver's own answer in the place of what is known about it.
func (in Input) asked(d caps.Device, t Tier, what string) Tier {
	for _, p := range in.Probes {
		if p.Device != d.Name || p.What != what || p.Taken == caps.Unknown {
			continue
		}
		if p.Taken == caps.No {
			return Tier{Name: t.Name, Can: caps.SupportNo, Code: t.Code, Why: "the driver refused: " + p.Words}
		}
		if t.Can != caps.SupportPartly {
			return Tier{Name: t.Name, Can: caps.SupportYes, Why: "the driver took one"}
		}
	}
	return t
}

// no makes the answer of a tier out of a reason's code.
func no(t TierName, r reason.Reason, why, next string) Tier {
	i := r.Info()
	return Tier{Name: t, Can: caps.SupportNo, Code: i.Code, Why: cmp.Or(why, i.Text), Next: next}
}

func (in Input) hardwareRules(d caps.Device) Tier {
	const t = HardwareRules
	p, ok := in.profile(d)
	switch {
	case len(d.Lower) > 0:
		return below(t, d)
	case !ok && d.Kind != "":
		return no(t, reason.NoNdoSetupTC, fmt.Sprintf("%s devices have no hardware", d.Kind), "")
	case !ok:
		return in.unknownDriver(t, d)
	case p.Chain == caps.SupportNo:
		return no(t, reason.NoNdoSetupTC, p.Name+": "+p.WhyChain, "")
	case d.HWTCOffload == caps.Off:
		return no(t, reason.HwTcOffloadOff, "hw-tc-offload is off", fmt.Sprintf("ethtool -K %s hw-tc-offload on", d.Name))
	case d.HWTCOffload == caps.OffFixed:
		return no(t, reason.HwTcOffloadOff, "hw-tc-offload is off, and the driver keeps it so", "")
	case in.Machine.Kernel.Has(caps.OptClsFlower) == caps.No:
		return no(t, reason.NoClsFlower, "", "")
	}
	return Tier{Name: t, Can: p.Chain, Why: p.WhyChain, Next: in.probe(d)}
}

func (in Input) hardwareFlows(d caps.Device) Tier {
	const t = HardwareFlows
	p, ok := in.profile(d)
	takes := p.Flowtable
	if slices.Contains(p.Conditions, caps.ToConduit) {
		takes = in.conduit(d)
	}
	switch {
	case len(d.Lower) > 0:
		return below(t, d)
	case !ok && d.Kind != "":
		return no(t, reason.DeviceNoFT, fmt.Sprintf("%s devices have no hardware", d.Kind), "")
	case !ok:
		return in.unknownDriver(t, d)
	case takes == caps.No:
		return no(t, reason.DeviceNoFT, fmt.Sprintf("%s takes no flowtables: leave `flags offload` away", p.Name), "")
	case in.Machine.Kernel.Has(caps.OptFlowtable) == caps.No:
		return no(t, reason.NoFlowtable, "", "")
	case d.HWTCOffload.On() == caps.No:
		return no(t, reason.HwTcOffloadOff, "hw-tc-offload is off", fmt.Sprintf("ethtool -K %s hw-tc-offload on", d.Name))
	case takes == caps.Unknown:
		return Tier{Name: t, Can: unknown, Code: reason.DeviceNoProfile.Info().Code, Why: "the conduit of the switch decides", Next: in.probe(d)}
	}
	return Tier{Name: t, Can: caps.SupportYes, Why: cmp.Or(limits(p), "`flags offload` of a flowtable"), Next: in.probe(d)}
}

// below is the answer for hardware of a device that stands on others.
func below(t TierName, d caps.Device) Tier {
	return no(t, reason.DeviceIsUpper, "hardware is below: see "+strings.Join(d.Lower, ", "), "")
}

// limits names what the hardware does not take of flows.
func limits(p caps.Profile) string {
	var out []string
	for _, c := range p.Conditions {
		switch c {
		case caps.NoIPv6NAT, caps.NoGRE, caps.SoCPortsOnly, caps.Only8021Q, caps.TwoVLANs, caps.NeedsFDBPrios:
			out = append(out, c.Text())
		default:
		}
	}
	return strings.Join(out, "; ")
}

// conduit is what the conduit of a switch port makes of flowtables.
func (in Input) conduit(d caps.Device) caps.Answer {
	below, ok := in.Machine.Device(d.Switch.Conduit)
	if !ok {
		return caps.Unknown
	}
	p, ok := in.profile(below)
	if !ok {
		return caps.Unknown
	}
	return p.Flowtable
}

func (in Input) unknownDriver(t TierName, d caps.Device) Tier {
	return Tier{
		Name: t, Can: unknown, Code: reason.DeviceNoProfile.Info().Code,
		Why: fmt.Sprintf("no profile of driver %q is known", d.Driver), Next: in.probe(d),
	}
}

// probe is the command that asks the driver; empty where it was asked.
func (in Input) probe(d caps.Device) string {
	if slices.ContainsFunc(in.Probes, func(p Probe) bool { return p.Device == d.Name }) {
		return ""
	}
	return "nft-offload doctor --probe " + d.Name
}

// fast are the tiers of the flow fast path.
func (in Input) fast(d caps.Device) (xdp, tc Tier) {
	if lacks := floor(in.Machine.Kernel); len(lacks) > 0 {
		return no(XDP, lacks[0], "", ""), no(TC, lacks[0], "", "")
	}
	f, ok := in.Fast[d.Name]
	if !ok {
		return Tier{Name: XDP, Can: unknown}, Tier{Name: TC, Can: unknown}
	}
	refused := Tier{Can: caps.SupportNo, Code: f.Code, Why: f.Text, Next: f.Advice}
	on := ""
	if len(f.On) > 0 {
		on = "looked up on " + strings.Join(f.On, ", ")
	}
	switch f.Hook {
	case "xdp":
		leave := "and takes redirects of others"
		if f.Target != "" {
			leave = "and what leaves by it goes by tc: " + f.Target
		}
		xdp = Tier{Can: caps.SupportYes, Why: cmp.Or(on, "looks its packets up") + ", " + leave}
		tc = Tier{Can: caps.SupportYes, Why: "for what XDP cannot carry"}
	case "tc":
		xdp, tc = refused, Tier{Can: caps.SupportYes, Why: on}
	default:
		xdp, tc = refused, refused
		tc.Next = ""
	}
	xdp.Name, tc.Name = XDP, TC
	return xdp, tc
}

func (in Input) flowtable(d caps.Device) Tier {
	const t = KernelFlowtable
	switch {
	case in.Machine.Kernel.Has(caps.OptFlowtable) == caps.No:
		return no(t, reason.NoFlowtable, "the kernel has none: `load --lower` carries its flows without", "")
	case d.Type == "loopback":
		return Tier{Name: t, Can: caps.SupportNo, Why: "nothing is forwarded through it"}
	case in.Machine.Kernel.Has(caps.OptFlowtable) == caps.Unknown:
		return Tier{Name: t, Can: unknown, Why: "it is not known whether the kernel has it"}
	}
	if low := in.Machine.Lowest(d.Name); len(low) != 1 || low[0] != d.Name {
		return Tier{
			Name: t, Can: caps.SupportPartly, Code: reason.DeviceIsUpper.Info().Code,
			Why: "packets come in below: list " + strings.Join(low, ", ") + " in the flowtable",
		}
	}
	return Tier{Name: t, Can: caps.SupportYes}
}
