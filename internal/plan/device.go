package plan

import (
	"cmp"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// ability is what a device can do for rules.
type ability struct {
	device   caps.Device
	known    bool
	profile  caps.Profile
	xdp      Finding
	hardware Finding
}

func (a ability) has(c caps.Condition) bool { return slices.Contains(a.profile.Conditions, c) }

// abilities finds out about devices, and remembers.
type abilities struct {
	machine caps.Machine
	options Options
	seen    map[string]ability
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
	d, ok := as.machine.Device(name)
	if !ok {
		f := Finding{Reason: reason.DeviceUnknown, Detail: name}
		return ability{xdp: f, hardware: f}
	}
	a := ability{device: d, known: true}
	profile, ok := caps.ProfileOf(d)
	a.profile = profile
	a.xdp = as.deviceXDP(a)
	switch {
	case as.options.NoHardware:
		a.hardware = Finding{Reason: reason.NoFlower, Detail: "hardware was left out of the plan"}
	case !ok:
		a.hardware = Finding{Reason: reason.DeviceNoProfile, Detail: d.Driver}
	default:
		a.hardware = as.deviceHardware(a)
	}
	if f := foreign(d); !f.None() {
		a.xdp, a.hardware = first(a.xdp, f), first(a.hardware, f)
	}
	return a
}

// foreign is a program or filter of somebody else that packets come to before they come to any rule, and would not come
// to if rules were executed before.
func foreign(d caps.Device) Finding {
	if len(d.XDPPrograms) > 0 {
		return Finding{Reason: reason.DeviceForeignXDP, Detail: d.XDPPrograms[0].Name}
	}
	for _, f := range d.Filters {
		if !f.Egress {
			return Finding{Reason: reason.DeviceForeignFilter, Detail: f.Text}
		}
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
	switch {
	case as.machine.Kernel.Has(caps.OptBTF) == caps.No:
		return Finding{Reason: reason.NoBTF}
	case len(d.Lower) > 0:
		return Finding{Reason: reason.DeviceIsUpper, Detail: d.Name}
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
