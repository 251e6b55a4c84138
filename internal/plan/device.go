package plan

import (
	"cmp"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// ability is what a device can do for rules.
type ability struct {
	device   caps.Device
	known    bool
	profile  caps.Profile
	xdp, tc  Finding
	hardware Finding
	// tier is that of the hook that rules run at; Software for none.
	tier Tier
}

// early is why no rule runs early on the device.
func (a ability) early() Finding {
	if a.tier == Software {
		return first(a.xdp, a.tc)
	}
	return Finding{}
}

// hidesTags reports whether frames at XDP may have lost their outer tag, which the kernel has beside them: NICs take it
// off, and so does the sender behind a veth device.
func (a ability) hidesTags() bool {
	return a.tier == XDP && (a.device.RxVLAN == caps.OnFixed || a.device.Driver == "veth" || a.device.Kind == "veth")
}

// whereTags is where the outer tag of a device's frames is that hides it.
func (a ability) whereTags() string {
	if a.device.RxVLAN == caps.OnFixed {
		return a.device.Name + " takes VLAN tags off, and cannot be told not to"
	}
	return a.device.Name + " has VLAN tags beside the bytes of a frame, where XDP does not see them"
}

// hook is where rules run, for devices that have one.
func (a ability) hook() share.Hook {
	if a.tier == TC {
		return share.TC
	}
	return share.XDP
}

func (a ability) has(c caps.Condition) bool { return slices.Contains(a.profile.Conditions, c) }

// abilities finds out about devices, and remembers.
type abilities struct {
	machine   caps.Machine
	options   Options
	wildcards []string
	seen      map[string]ability
}

func (as *abilities) of(name string) ability {
	if a, ok := as.seen[name]; ok {
		return a
	}
	a := as.look(name)
	as.seen[name] = a
	return a
}

func (as *abilities) look(name string) ability {
	unnamed := as.wildcard(name)
	d, ok := as.machine.Device(name)
	if !ok {
		f := first(unnamed, Finding{Reason: reason.DeviceUnknown, Detail: name})
		return ability{xdp: f, tc: f, hardware: f}
	}
	a := ability{device: d, known: true}
	profile, ok := caps.ProfileOf(d)
	a.profile = profile
	a.xdp, a.tc = as.deviceXDP(a), as.deviceTC(a)
	switch {
	case as.options.NoHardware:
		a.hardware = Finding{Reason: reason.NoFlower, Detail: "hardware was left out of the plan"}
	case !ok:
		a.hardware = Finding{Reason: reason.DeviceNoProfile, Detail: d.Driver}
	default:
		a.hardware = as.deviceHardware(a)
	}
	program, filter := foreign(d)
	a.xdp, a.tc, a.hardware = first(a.xdp, program, filter, unnamed), first(a.tc, filter, unnamed), first(a.hardware, program, filter, unnamed)
	switch {
	case a.xdp.None():
		a.tier = XDP
	case a.tc.None():
		a.tier = TC
	}
	return a
}

// foreign is a program and a filter of somebody else that packets come to before they come to any rule, and would not
// come to if rules were executed before.
func foreign(d caps.Device) (program, filter Finding) {
	if len(d.XDPPrograms) > 0 {
		program = Finding{Reason: reason.DeviceForeignXDP, Detail: d.XDPPrograms[0].Name}
	}
	for _, f := range d.Filters {
		if !f.Egress {
			return program, Finding{Reason: reason.DeviceForeignFilter, Detail: f.Text}
		}
	}
	return program, Finding{}
}

// deviceTC is why rules are not executed at tc on a device.
func (as *abilities) deviceTC(a ability) Finding {
	d := a.device
	switch chosen := as.options.Hooks[d.Name]; {
	case chosen != "" && chosen != TC.String():
		return Finding{Reason: reason.HookChosen, Detail: d.Name + "=" + chosen}
	case as.machine.Kernel.Has(caps.OptBTF) == caps.No:
		return Finding{Reason: reason.NoBTF}
	case len(d.Lower) > 0:
		return Finding{Reason: reason.DeviceIsUpper, Detail: d.Name}
	case d.Type != "ether":
		return Finding{Reason: reason.DeviceNotEthernet, Detail: d.Name}
	}
	return Finding{}
}

// deviceXDP is why rules are not executed at XDP on a device.
func (as *abilities) deviceXDP(a ability) Finding {
	d := a.device
	x := d.XDP
	if !x.Known {
		x = a.profile.XDP
	}
	chosen := as.options.Hooks[d.Name]
	switch {
	case chosen != "" && chosen != XDP.String():
		return Finding{Reason: reason.HookChosen, Detail: d.Name + "=" + chosen}
	case as.machine.Kernel.Has(caps.OptBTF) == caps.No:
		return Finding{Reason: reason.NoBTF}
	case len(d.Lower) > 0:
		return Finding{Reason: reason.DeviceIsUpper, Detail: d.Name}
	case chosen != "":
	case d.Kind != "" || d.Driver == "veth" || d.Driver == "tun":
		return Finding{Reason: reason.NoNativeXDP, Detail: cmp.Or(d.Kind, d.Driver) + ", where nft-offload uses tc: XDP would cost TCP its segmentation offload"}
	case x.Has(caps.XDPBasic) != caps.Yes:
		return Finding{Reason: reason.NoNativeXDP, Detail: driver(a)}
	}
	return Finding{}
}

func driver(a ability) string {
	if a.device.Driver != "" {
		return "driver " + a.device.Driver
	}
	return ""
}

// deviceHardware is why no rule at all goes to a device's hardware.
func (as *abilities) deviceHardware(a ability) Finding {
	p := a.profile
	switch {
	case as.machine.Kernel.Has(caps.OptClsFlower) == caps.No:
		return Finding{Reason: reason.NoClsFlower}
	case a.has(caps.IndirectOnly):
		return Finding{Reason: reason.NoNdoSetupTC, Detail: p.WhyChain}
	case p.Keys == 0:
		return Finding{Reason: reason.NoFlower, Detail: p.WhyChain}
	case a.has(caps.NeedsClassid):
		return Finding{Reason: reason.NeedsHwTc, Detail: p.Name}
	case a.has(caps.ChainZeroRefused):
		return Finding{Reason: reason.ChainIDNotSupported, Detail: p.Name}
	case a.has(caps.NeedsFlow), p.Actions == 0:
		return Finding{Reason: reason.ActionNotSupported, Detail: p.Name + ": " + p.WhyChain}
	case a.has(caps.NeedsHWTC) && a.device.HWTCOffload == caps.OffFixed:
		return Finding{Reason: reason.HwTcOffloadOff, Detail: "and cannot be switched on"}
	}
	return Finding{}
}

// switchesOn reports whether hardware offload has to be switched on first.
func (a ability) switchesOn() bool {
	return a.has(caps.NeedsHWTC) && a.device.HWTCOffload == caps.Off
}

// sameSwitch reports whether hardware of one device can send out of another.
func sameSwitch(a, b ability) bool {
	return b.known && a.device.Driver == b.device.Driver && a.device.Switch.ID == b.device.Switch.ID
}
