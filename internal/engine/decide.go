package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// maxIfindex is the largest interface index: the flow table's key has 24 bits for it.
const maxIfindex = 1<<24 - 1

// View is one reading of the machine.
type View struct {
	Ruleset ruleset.Ruleset
	Links   []Link
}

// Decision is what to do about one device that a flowtable lists.
type Decision struct {
	Name       string   `json:"name"`
	Ifindex    uint32   `json:"ifindex,omitempty"`
	Hook       Hook     `json:"hook"`             // off when it stays on the slow path
	Reason     Reason   `json:"reason,omitzero"`  // why off, or why not XDP
	XDPTarget  bool     `json:"xdp_target"`       // XDP redirects may leave here
	Target     Reason   `json:"target,omitzero"`  // why they may not
	Flowtables []string `json:"flowtables"`       // "inet filter f1"
	Asked      bool     `json:"asked,omitempty"`  // the hook is the user's choice
	Real       bool     `json:"kernel_flowtable"` // a flowtable of the kernel lists it

	partial bool           // checksums may be unfinished at XDP
	labels  ruleset.Labels // of its lowered flowtables
}

// decide says for every device of every flowtable whether and where the fast path runs on it. It is a pure function.
// refused has the devices on which XDP failed before, by ifindex.
func decide(v View, choices Choices, refused map[uint32]Reason) []Decision {
	links := map[string]Link{}
	for _, l := range v.Links {
		links[l.Name] = l
	}
	byName := map[string]*Decision{}
	for _, f := range v.Ruleset.Flowtables {
		for _, name := range f.Devices {
			d := byName[name]
			if d == nil {
				d = &Decision{Name: name}
				byName[name] = d
			}
			d.Flowtables = append(d.Flowtables, strings.Join([]string{f.Family, f.Table, f.Name}, " "))
			d.labels = d.labels.Union(f.Labels)
			d.Real = d.Real || !f.Lowered
		}
	}
	out := make([]Decision, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		d := byName[name]
		l, exists := links[name]
		choice, asked := choices[name]
		switch {
		case asked && choice == Off:
			d.Hook, d.Asked, d.Reason = Off, true, Reason{Code: UserOff, Text: fmt.Sprintf("%s is switched off by --device %s=off", name, name)}
		case !exists:
			d.Hook, d.Reason = Off, Reason{NoDevice, fmt.Sprintf("%s does not exist", name), "it is taken up when it appears"}
		default:
			d.Ifindex = l.Ifindex
			d.place(l, choice, refused[l.Ifindex], obstacle(l, v.Ruleset))
		}
		out = append(out, *d)
	}
	return out
}

// place chooses the hook of a device that exists.
func (d *Decision) place(l Link, choice Hook, failed, obstacle Reason) {
	d.Asked = choice != ""
	d.XDPTarget, d.Target = l.XDPTarget.OK(), l.XDPTarget
	// Frames that a program made and not a wire may leave their checksum to a device that XDP goes round.
	d.partial = !l.Physical || l.Driver == "virtio_net"
	xdp := cmp.Or(failed, l.XDP)
	switch {
	case !obstacle.OK():
		d.Hook, d.Reason = Off, obstacle
	case choice == XDP && !xdp.OK():
		d.Hook, d.Reason = Off, xdp
	case choice == XDP:
		d.Hook = XDP
	case choice == TC:
		d.Hook = TC
	case l.Kind == "veth":
		d.Hook, d.Reason = TC, Reason{TCByDefault, fmt.Sprintf("%s is a veth device, where XDP costs TCP its segmentation offload", l.Name), fmt.Sprintf("--device %s=xdp for small packets", l.Name)}
	case !xdp.OK():
		d.Hook, d.Reason = TC, xdp
	default:
		d.Hook = XDP
	}
}

// obstacle says what keeps a device off the fast path altogether.
func obstacle(l Link, r ruleset.Ruleset) Reason {
	later := "flows through it stay on the slow path"
	switch l.Kind {
	case "bridge":
		return Reason{IsBridge, fmt.Sprintf("%s is a bridge, and bridged paths are not carried yet", l.Name), later}
	case "vlan":
		return Reason{IsVLAN, fmt.Sprintf("%s is a VLAN, and tagged paths are not carried yet", l.Name), later}
	case "bond", "team":
		return Reason{IsBond, fmt.Sprintf("%s is a %s, and such paths are not carried yet", l.Name, l.Kind), later}
	case "", "veth", "tun", "ifb", "dummy": // lowest devices; a tun without Ethernet frames is refused below
	default:
		if l.Ethernet {
			return Reason{IsStacked, fmt.Sprintf("%s is a %s device, and such paths are not carried", l.Name, l.Kind), later}
		}
	}
	switch {
	case l.Loopback:
		return Reason{LoopbackDev, fmt.Sprintf("%s is the loopback device", l.Name), "remove it from the flowtable"}
	case !l.Ethernet:
		return Reason{NotEthernet, fmt.Sprintf("%s does not carry Ethernet frames", l.Name), later}
	case l.Ifindex > maxIfindex:
		return Reason{BigIfindex, fmt.Sprintf("the interface index %d of %s is above %d", l.Ifindex, l.Name, maxIfindex), "recreate the device in a fresh network namespace, where numbers start low"}
	case l.Master != "":
		return Reason{IsPort, fmt.Sprintf("%s is a port of the %s %s, and such paths are not carried yet", l.Name, l.MasterKind, l.Master), later}
	case len(l.Filters) > 0:
		return Reason{ForeignFilter, fmt.Sprintf("fast packets would not pass the %s on %s", l.Filters[0], l.Name), "remove it, or keep the device off with --device " + l.Name + "=off"}
	}
	if cs := r.Ingress(l.Name); len(cs) > 0 {
		c := cs[0]
		return Reason{DeviceChain, fmt.Sprintf("fast packets would not pass the %s chain %s %s %s on %s", c.Hook, c.Family, c.Table, c.Name, l.Name), "remove the chain or its rules"}
	}
	return Reason{}
}

// desired is what the decisions ask of the datapath.
func desired(v View, ds []Decision) Desired {
	want := Desired{Mark: v.Mark()}
	for _, d := range ds {
		if d.Hook == Off {
			continue
		}
		want.Devices = append(want.Devices, Device{
			Ifindex: d.Ifindex, Name: d.Name, Hook: d.Hook, XDPTarget: d.XDPTarget, PartialChecksums: d.partial,
			Labels: d.labels, Flowtable: d.Real,
		})
	}
	return want
}

// Mark is the conntrack mark bit that the ruleset was lowered with; 0 for labels.
func (v View) Mark() uint32 {
	for _, f := range v.Ruleset.Flowtables {
		if f.Mark != 0 {
			return f.Mark
		}
	}
	return 0
}

// check finds choices that cannot be honored: the user has to know before anything changes.
func check(v View, choices Choices, ds []Decision) error {
	links := map[string]bool{}
	for _, l := range v.Links {
		links[l.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(choices)) {
		if !links[name] {
			return &DeviceError{name, Reason{NoDevice, fmt.Sprintf("--device %s=%s: there is no device %s", name, choices[name], name), "see `ip link`"}}
		}
	}
	for _, d := range ds {
		if d.Asked && d.Hook == Off && choices[d.Name] != Off {
			r := d.Reason
			r.Text = fmt.Sprintf("--device %s=%s: %s", d.Name, choices[d.Name], r.Text)
			return &DeviceError{d.Name, r}
		}
	}
	return nil
}

// DeviceError says that a device the user named cannot be used as asked.
type DeviceError struct {
	Device string
	Reason Reason
}

// Error renders the reason.
func (e *DeviceError) Error() string { return e.Reason.Error() }
