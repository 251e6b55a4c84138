package plan

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Flowtable is a flowtable, what its devices can have, and which flows come to it.
type Flowtable struct {
	Family   ruleset.Family `json:"family"`
	Table    string         `json:"table"`
	Name     string         `json:"name"`
	Flags    []string       `json:"flags,omitempty"`
	Devices  []FlowDevice   `json:"devices"`
	Findings []Finding      `json:"findings,omitempty"`
	// Missing are the devices below those that are listed, where frames arrive, that are not listed themselves.
	Missing []string  `json:"missing,omitempty"`
	Adds    []FlowAdd `json:"adds"`
}

// FlowDevice is a device of a flowtable.
type FlowDevice struct {
	Name string `json:"name"`
	// Hook is where nft-offload carries flows that come in by it: "xdp", "tc", or empty for nowhere.
	Hook string `json:"hook,omitempty"`
	// XDP is why the hook is not xdp.
	XDP Finding `json:"xdp"`
	// Offload is why the flowtable cannot have `flags offload` with this device.
	Offload Finding `json:"offload"`
	// Lowest are the devices below, where frames arrive; empty for one that stands on none.
	Lowest []string `json:"lowest,omitempty"`
}

// FlowAdd is a rule that hands flows over.
type FlowAdd struct {
	Rule   Ref      `json:"rule"`
	Text   string   `json:"text"`
	Covers []string `json:"covers"` // what the flows have in common; empty: nothing
	// Finding is why no flow comes to the rule, or none of those can be carried.
	Finding Finding `json:"finding"`
	// Before are earlier rules of the chain that decide about some of these packets first.
	Before []Earlier `json:"before,omitempty"`
}

// Earlier is a rule that comes before another.
type Earlier struct {
	Rule Ref    `json:"rule"`
	Text string `json:"text"`
}

// flowtables writes down every flowtable of the ruleset.
func (b *builder) flowtables() {
	seen := map[*ruleset.Chain][]*entry{}
	for _, t := range b.rs.Tables {
		for _, f := range t.Flowtables {
			out := &Flowtable{Family: t.Family, Table: t.Name, Name: f.Name, Flags: f.Flags, Devices: []FlowDevice{}, Adds: []FlowAdd{}}
			b.flowDevices(out, f)
			b.flowAdds(out, t, seen)
			out.Findings = b.flowFindings(out, f)
			b.plan.Flowtables = append(b.plan.Flowtables, out)
		}
	}
}

func (b *builder) flowFindings(out *Flowtable, f *ruleset.Flowtable) []Finding {
	var fs []Finding
	if b.able.machine.Kernel.Has(caps.OptFlowtable) == caps.No {
		fs = append(fs, Finding{Reason: reason.NoFlowtable})
	}
	switch len(f.Devices) {
	case 0:
		fs = append(fs, Finding{Reason: reason.FlowtableNoDevice})
	case 1:
		fs = append(fs, Finding{Reason: reason.FlowtableOneDevice, Detail: f.Devices[0]})
	}
	if len(out.Adds) == 0 {
		fs = append(fs, Finding{Reason: reason.FlowtableUnused})
	}
	offload := slices.Contains(f.Flags, "offload")
	if !offload {
		fs = append(fs, Finding{Reason: reason.FlowtableWithoutOffloadFlag})
	}
	for _, d := range out.Devices {
		if offload && !d.Offload.None() {
			fs = append(fs, d.Offload)
		}
		if d.XDP.Reason == reason.DeviceUnknown {
			fs = append(fs, Finding{Reason: reason.FlowtableDeviceMissing, Detail: d.Name})
		}
	}
	if len(out.Missing) > 0 {
		fs = append(fs, Finding{Reason: reason.LowestDeviceMissing, Detail: strings.Join(out.Missing, ", ")})
	}
	return fs
}

func (b *builder) flowDevices(out *Flowtable, f *ruleset.Flowtable) {
	for _, name := range f.Devices {
		a := b.able.of(name)
		d := FlowDevice{Name: name, XDP: flowXDP(a), Offload: b.flowOffload(name, a)}
		lowest := b.lowest(name)
		switch {
		case !a.known:
		case !slices.Equal(lowest, []string{name}):
			d.Lowest = lowest
		case d.XDP.None():
			d.Hook = "xdp"
		case b.able.machine.Kernel.Has(caps.OptBTF) != caps.No:
			d.Hook = "tc"
		}
		for _, l := range d.Lowest {
			if !slices.Contains(f.Devices, l) && !slices.Contains(out.Missing, l) {
				out.Missing = append(out.Missing, l)
			}
		}
		out.Devices = append(out.Devices, d)
	}
}

// flowXDP is why flows that come in by a device are not carried at XDP.
func flowXDP(a ability) Finding {
	if !a.xdp.None() {
		return a.xdp
	}
	x := a.device.XDP
	if !x.Known {
		x = a.profile.XDP
	}
	if x.Has(caps.XDPRedirect) != caps.Yes {
		return Finding{Reason: reason.NoNativeXDP, Detail: driver(a)}
	}
	return Finding{}
}

// flowOffload is why the driver of a device takes no flowtables.
func (b *builder) flowOffload(name string, a ability) Finding {
	if a.known && a.has(caps.ToConduit) && a.device.Switch.Conduit != "" {
		a = b.able.of(a.device.Switch.Conduit)
		name += " asks its conduit " + a.device.Name
	}
	switch {
	case !a.known:
		return Finding{Reason: reason.DeviceUnknown, Detail: name}
	case a.profile.Name == "":
		return Finding{Reason: reason.DeviceNoProfile, Detail: name}
	case a.profile.Flowtable != caps.Yes:
		return Finding{Reason: reason.DeviceRefusedTCSetupFT, Detail: name}
	}
	return Finding{}
}

// lowest are the devices where the frames of a device arrive, as the kernel finds them: it looks below bridges, VLANs and
// PPPoE (ndo_fill_forward_path), not below bonds and tunnels; a port of a DSA switch is the end, too.
func (b *builder) lowest(name string) []string {
	var out []string
	seen := map[string]bool{name: true}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		d, ok := b.able.machine.Device(queue[0])
		through := d.Kind == "vlan" || d.Kind == "bridge" || d.Kind == "pppoe" || d.Kind == "ppp"
		if !ok || !through || len(d.Lower) == 0 {
			out = append(out, queue[0])
			continue
		}
		for _, l := range d.Lower {
			if !seen[l] {
				seen[l] = true
				queue = append(queue, l)
			}
		}
	}
	return out
}

// mostEarlier bounds the rules that are listed as deciding first.
const mostEarlier = 8

// flowAdds finds the rules that add flows to a flowtable, and what comes to them.
func (b *builder) flowAdds(out *Flowtable, t *ruleset.Table, seen map[*ruleset.Chain][]*entry) {
	done := map[*ruleset.Rule]bool{}
	for _, c := range t.Chains {
		if c.Base == nil || c.Base.Hook != "forward" {
			continue
		}
		if _, ok := seen[c]; !ok {
			f := newFlattener(b.reader, look{})
			f.baseChain(t, c, space.Everything())
			seen[c] = f.entries
		}
		for i, e := range seen[c] {
			if e.rule == nil || done[e.rule] {
				continue
			}
			if add, ok := flowAdd(e.rule); !ok || add.Flowtable != out.Name {
				continue
			}
			done[e.rule] = true
			out.Adds = append(out.Adds, flowAddRule(e, seen[c][:i]))
		}
	}
}

func flowAddRule(e *entry, before []*entry) FlowAdd {
	add := FlowAdd{Rule: *e.ref(), Text: text(e.rule), Covers: covers(e.space)}
	carried := e.space.Meet(space.Where(space.L4Proto(), protocolsOfFlows()))
	if carried.Empty() {
		add.Finding = Finding{Reason: reason.FlowProtocol}
	}
	for _, o := range before {
		if o.effect.ending == goesOn || o.rule == nil || space.Disjoint(o.end, carried) {
			continue
		}
		if o.effect.ending != leaves && o.effect.ending != unknown && space.Covers(o.end, carried) {
			add.Finding = Finding{Reason: reason.RuleNotReached, Rule: o.ref()}
			add.Before = []Earlier{{*o.ref(), text(o.rule)}}
			return add
		}
		if len(add.Before) < mostEarlier {
			add.Before = append(add.Before, Earlier{*o.ref(), text(o.rule)})
		}
	}
	return add
}

// protocolsOfFlows are TCP, UDP and GRE.
func protocolsOfFlows() space.Set {
	return space.SetOf([]space.Interval{
		{First: space.Number(6), Last: space.Number(6)},
		{First: space.Number(17), Last: space.Number(17)},
		{First: space.Number(47), Last: space.Number(47)},
	})
}
