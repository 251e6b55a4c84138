package caps

import "slices"

// Lookup finds a profile by name.
func Lookup(name string) (Profile, bool) {
	all := Profiles()
	i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return all[i], true
}

// For finds the profile of a driver (or, of a virtual device, its kind) in a mode. With a mode that the driver does not
// have, or none, it is the driver's first.
func For(driver string, mode Mode) (Profile, bool) {
	var first *Profile
	for _, p := range Profiles() {
		if !slices.Contains(p.Drivers, driver) {
			continue
		}
		if p.Mode == mode {
			return p, true
		}
		if first == nil {
			first = &p
		}
	}
	if first == nil {
		return Profile{}, false
	}
	return *first, true
}

// ProfileOf finds the profile to plan with for a device: the one it names, else the one of its driver in its mode, else
// the one of its kind. A device whose driver is not known has none.
func ProfileOf(d Device) (Profile, bool) {
	if d.Profile != "" {
		return Lookup(d.Profile)
	}
	if d.Switch.Role == RoleDSAPort {
		return Lookup("dsa-port")
	}
	if p, ok := For(d.Driver, d.mode()); ok {
		return p, true
	}
	return For(d.Kind, "")
}

// mode is what ProfileOf knows about the mode of a device.
func (d Device) mode() Mode {
	switch {
	case d.Switch.Role == RoleRepresentor:
		return ModeRepresentor
	case d.Eswitch == EswitchSwitchdev:
		return ModeUplink
	case d.Driver == "sfc" && d.HWTCOffload != "" && !d.HWTCOffload.Fixed():
		return ModeEF100 // EF10 has one driver name with it, and no such feature
	}
	return ModeNIC
}

// Assume makes a machine of devices that all are of one profile, with the kernel that the profile was read in and every
// option known to be there: what to plan for where the machine is not at hand.
func Assume(p Profile, names ...string) Machine {
	m := Machine{Assumed: true, Kernel: Kernel{Version: p.Kernel, Options: map[Option]Answer{}}}
	for _, o := range Options() {
		m.Kernel.Options[o] = Yes
	}
	for i, n := range names {
		m.Devices = append(m.Devices, p.device(n, uint32(i)+1))
	}
	return m
}

// device is a device of the profile with nothing in its way.
func (p Profile) device(name string, ifindex uint32) Device {
	d := Device{
		Name: name, Ifindex: ifindex, Type: "ether", MTU: 1500, Up: true, Carrier: true, XDP: p.XDP,
		HWTCOffload: p.HWTCOffload, Profile: p.Name,
	}
	if len(p.Drivers) > 0 {
		d.Driver = p.Drivers[0]
	}
	switch p.Mode {
	case ModeUplink, ModeSwitchdev:
		d.Eswitch, d.Switch.Role = EswitchSwitchdev, RoleUplink
	case ModeRepresentor:
		d.Eswitch, d.Switch.Role = EswitchSwitchdev, RoleRepresentor
	case ModeNIC, ModeWED, ModeEF10, ModeEF100, ModeFelix:
	}
	return d
}
