package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// flowtableDevices is how many devices a flowtable takes (NFT_NETDEVICE_MAX).
const flowtableDevices = 256

func (c *checker) checkFlowtables() {
	for _, t := range c.rs.Tables {
		in := map[string]*ruleset.Flowtable{}
		for _, f := range t.Flowtables {
			p := c.flowtablePlace(f)
			c.checkObject(t, f, p)
			c.checkUse(t, f, p)
			c.checkTwice(f, p, in)
			c.checkNames(f, p)
			c.checkStack(f, p)
			c.checkOffloadFlag(f, p)
		}
	}
}

// checkObject reports what the kernel refuses of any flowtable.
func (c *checker) checkObject(t *ruleset.Table, f *ruleset.Flowtable, p Place) {
	if !routes(t.Family) {
		c.say(reason.FlowtableFamily, Error, p, "table inet "+t.Name, "a table of family %s cannot have flowtables", t.Family)
	}
	if f.Hook != "" && f.Hook != "ingress" {
		c.say(reason.FlowtableHookNotIngress, Error, p, fmt.Sprintf("hook ingress priority %d;", f.Priority), "its hook is %s", f.Hook)
	}
	for _, flag := range f.Flags {
		if flag != "offload" && flag != "counter" {
			c.say(reason.FlowtableUnknownFlag, Error, p, "", "the kernel knows no flag %q", flag)
		}
	}
	switch n := len(f.Devices); {
	case n == 0:
		c.say(reason.FlowtableNoDevice, Warning, p, "devices = { LAN, WAN };", "the flowtable lists no device and offloads nothing")
	case n > flowtableDevices:
		c.say(reason.FlowtableTooManyDevices, Error, p, "", "it lists %d devices and may list %d", n, flowtableDevices)
	case n == 1 && !isWildcard(f.Devices[0]):
		c.checkOneDevice(f, p)
	}
}

// checkOneDevice reports a flowtable with one device, unless that device has several networks on it.
func (c *checker) checkOneDevice(f *ruleset.Flowtable, p Place) {
	d, known := c.devices[f.Devices[0]]
	s := Note
	switch {
	case known && (len(d.Uppers) > 1 || d.Kind == "bridge"):
		return
	case known && len(d.Uppers) == 0:
		s = Warning
	}
	c.say(reason.FlowtableOneDevice, s, p, fmt.Sprintf("devices = { %s, OTHER };", f.Devices[0]),
		"only packets that come in by %s are looked up; those that come in by other devices stay slow", f.Devices[0])
}

func (c *checker) checkUse(t *ruleset.Table, f *ruleset.Flowtable, p Place) {
	if slices.ContainsFunc(c.adds, func(ad addRule) bool { return ad.flowtable == f }) {
		return
	}
	c.say(reason.FlowtableUnused, Warning, p, fmt.Sprintf("meta l4proto { tcp, udp } ct state established flow add @%s", f.Name),
		"no rule of table %s %s adds flows to it", t.Family, t.Name)
}

func (c *checker) checkTwice(f *ruleset.Flowtable, p Place, in map[string]*ruleset.Flowtable) {
	for _, d := range f.Devices {
		if other := in[d]; other != nil && other != f {
			c.say(reason.FlowtableDeviceTwice, Error, p, "", "device %s is in flowtable %s of the same table, too", d, other.Name)
		}
		in[d] = f
	}
}

// checkNames reports device names that the kernel does not find.
func (c *checker) checkNames(f *ruleset.Flowtable, p Place) {
	v := c.m.Kernel.Version
	byName := v.Known() && v.AtLeast(6, 16) // hooks are kept by name, whether there is a device or not
	for _, d := range f.Devices {
		p := p
		p.Device = d
		switch {
		case isWildcard(d) && !v.Known():
			c.say(reason.FlowtableWildcard, Note, p, "the devices by name", "%s matches devices by prefix from Linux 6.16 on only", d)
		case isWildcard(d) && !byName:
			c.say(reason.FlowtableWildcard, Error, p, "the devices by name", "Linux %s takes %s for a device of that name", v.Number(), d)
		case isWildcard(d), len(c.m.Devices) == 0 || c.has(d):
		case byName:
			c.say(reason.DeviceUnknown, Note, p, "", "the machine has no device %s now; the flowtable takes it up when there is one", d)
		default:
			c.say(reason.FlowtableDeviceMissing, Error, p, "nft-offload load FILE",
				"the machine has no device %s: the kernel refuses the flowtable, and the whole ruleset with it", d)
		}
	}
}

func (c *checker) has(device string) bool {
	_, ok := c.devices[device]
	return ok
}

// checkStack compares the devices of a flowtable with those where their packets are looked up.
func (c *checker) checkStack(f *ruleset.Flowtable, p Place) {
	for _, name := range f.Devices {
		d, known := c.devices[name]
		if !known {
			continue
		}
		p := p
		p.Device = name
		if contract.Followed(d) && len(d.Lower) > 0 {
			c.checkUpper(f, p, d)
			continue
		}
		c.checkEnd(f, p, d)
	}
}

// checkUpper reports a bridge, VLAN or PPPoE device in the list.
func (c *checker) checkUpper(f *ruleset.Flowtable, p Place, d caps.Device) {
	low := c.lowest(d.Name)
	if slices.Equal(low, []string{d.Name}) {
		return
	}
	missing := slices.DeleteFunc(slices.Clone(low), func(l string) bool { return slices.Contains(f.Devices, l) })
	list := c.lowestList(f)
	if len(missing) > 0 {
		c.say(reason.LowestDeviceMissing, Warning, p, list,
			"%s stands on %s, where the kernel looks flows up, and the flowtable does not list %s", d.Name, strings.Join(low, ", "), strings.Join(missing, ", "))
		return
	}
	c.say(reason.UpperDeviceListed, Note, p, list, "%s stands on devices that are listed: it need not be", d.Name)
}

// lowestList writes a flowtable's devices as they should be.
func (c *checker) lowestList(f *ruleset.Flowtable) string {
	var out []string
	for _, d := range f.Devices {
		for _, l := range c.lowest(d) {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	slices.Sort(out)
	return "devices = { " + strings.Join(out, ", ") + " };"
}

// checkEnd reports a device below which, or above which, the kernel does not look.
func (c *checker) checkEnd(f *ruleset.Flowtable, p Place, d caps.Device) {
	for _, up := range d.Uppers {
		u, known := c.devices[up]
		if known && endsPath(u.Kind) && slices.Contains(u.Lower, d.Name) && !slices.Contains(f.Devices, up) {
			c.say(reason.PathEndsAtDevice, Warning, p, fmt.Sprintf("devices = { %s };", up),
				"%s is below %s %s, and the kernel's flow ends at %s: its packets are looked up there", d.Name, u.Kind, up, up)
			return
		}
	}
	if endsPath(d.Kind) && slices.Contains(f.Flags, "offload") {
		c.say(reason.PathEndsAtDevice, Warning, p, "no `flags offload` on this flowtable",
			"%s is a %s device: its flows run in software, the hardware below is not asked", d.Name, d.Kind)
	}
}

// endsPath reports whether a kind of device stands on others and does not tell the flowtable so.
func endsPath(kind string) bool {
	return slices.Contains([]string{
		"bond", "team", "macvlan", "macvtap", "ipvlan", "vxlan", "geneve", "gre", "gretap", "ip6gre", "wireguard", "tun", "vti", "xfrm", "sit",
	}, kind)
}

// checkOffloadFlag compares `flags offload` with what the drivers take.
func (c *checker) checkOffloadFlag(f *ruleset.Flowtable, p Place) {
	flag := slices.Contains(f.Flags, "offload")
	can := len(f.Devices) > 0
	for _, name := range f.Devices {
		d, known := c.devices[name]
		if !known {
			can = false
			continue
		}
		p := p
		p.Device = name
		profile, has := caps.ProfileOf(d)
		can = can && has && profile.Flowtable == caps.Yes
		if flag {
			c.checkFlagged(p, d, profile, has)
		}
	}
	if can && !flag {
		c.say(reason.FlowtableWithoutOffloadFlag, Note, p, "flags offload;", "the drivers of all its devices could carry its flows in hardware")
	}
}

// checkFlagged judges one device of a flowtable with `flags offload`.
func (c *checker) checkFlagged(p Place, d caps.Device, profile caps.Profile, has bool) {
	switch {
	case d.Eswitch == caps.EswitchLegacy && profile.Flowtable != caps.Yes:
		c.say(reason.EswitchLegacy, Error, p, "devlink dev eswitch set pci/"+d.Bus+" mode switchdev",
			"%s is a NIC in legacy mode, and only representors in switchdev mode take flowtables", d.Name)
	case has && profile.Flowtable == caps.No:
		c.say(reason.DeviceRefusedTCSetupFT, Error, p, "no `flags offload`, or a flowtable without "+d.Name,
			"driver %s of %s takes no flowtables (profile %s): the kernel refuses the whole flowtable", d.Driver, d.Name, profile.Name)
	case d.HWTCOffload.On() == caps.No:
		c.say(reason.HwTcOffloadOff, Warning, p, "ethtool -K "+d.Name+" hw-tc-offload on", "offload is switched off on %s", d.Name)
	}
	if d.Qdisc.Shaper != "" {
		c.say(reason.QdiscSkipped, Warning, p, "no `flags offload` on a flowtable with "+d.Name,
			"flows in hardware do not pass the %s qdisc of %s", d.Qdisc.Shaper, d.Name)
	}
}
