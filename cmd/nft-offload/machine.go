package main

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/nft"
)

// readMachine finds out what this machine and the devices of this network namespace can. The devices are those that
// were read for it.
func (e *env) readMachine(ctx context.Context, root fs.FS) (caps.Machine, []link.Device, error) {
	v, err := runningKernel()
	if err != nil {
		return caps.Machine{}, nil, err
	}
	h, err := link.Open()
	if err != nil {
		return caps.Machine{}, nil, err
	}
	defer h.Close() //nolint:errcheck // read only
	ds, err := h.Devices(ctx)
	if err != nil {
		return caps.Machine{}, nil, fmt.Errorf("read devices: %w", err)
	}
	devlink, err := h.Devlink()
	if err != nil {
		return caps.Machine{}, nil, err
	}
	m := caps.Machine{
		Kernel: readKernel(root, v), CPUs: runtime.NumCPU(),
		NFT:        toolVersion(ctx, "nft", "--version"),
		TC:         toolVersion(ctx, "tc", "-V"),
		Forwarding: either(sysctl(root, "net/ipv4/ip_forward"), sysctl(root, "net/ipv6/conf/all/forwarding")),
		Accounting: sysctl(root, "net/netfilter/nf_conntrack_acct"),
	}
	if on, err := isBPFFS(filepath.Dir(e.places.bpffs)); err == nil {
		m.BPFFS = caps.AnswerOf(on)
	}
	if m.Kernel.Has(caps.OptFlowtable) == caps.Unknown && m.NFT != "" {
		if has, err := nft.HasFlowtables(ctx); err == nil {
			m.Kernel.Options[caps.OptFlowtable] = caps.AnswerOf(has)
		}
	}
	c := converter{names: map[uint32]string{}, devlink: devlink, pppoe: pppoeBelow(root), all: ds}
	for _, d := range ds {
		c.names[d.Ifindex] = d.Name
		if d.XDP.Known {
			m.Kernel.Options[caps.OptXDPFeatures] = caps.Yes
		}
	}
	for _, d := range ds {
		m.Devices = append(m.Devices, c.device(d, h.Detail(d.Name)))
	}
	return m, ds, nil
}

// toolVersion returns the version that a program says it has: "nftables v1.0.6 (Lester Gooch #5)", "tc utility,
// iproute2-6.1.0, libbpf 1.1.0". It is empty where there is no such program.
func toolVersion(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	if v := regexp.MustCompile(`(?:v|iproute2-)(\d+(?:\.\d+)+)`).FindSubmatch(out); v != nil {
		return string(v[1])
	}
	return "unknown"
}

// converter makes devices of package caps out of those of package link.
type converter struct {
	names   map[uint32]string
	devlink link.Devlink
	pppoe   string
	all     []link.Device
}

func (c converter) device(d link.Device, more link.Detail) caps.Device {
	out := caps.Device{
		Name: d.Name, Ifindex: d.Ifindex, Kind: d.Kind, Driver: d.Driver, Firmware: more.Firmware, Bus: d.Parent,
		Type: typeName(d.ARPHRD), Speed: int(more.Speed), MAC: d.MAC.String(), MTU: int(d.MTU), Up: d.Up, Carrier: d.Running,
		VLANFiltering: d.VLANFiltering, Switch: c.port(d), Lower: c.lower(d),
		HWTCOffload: toggle(d, link.HWTCOffload), RxVLAN: toggle(d, link.RxVLAN), LRO: toggle(d, link.LRO),
		Ntuple:  toggle(d, link.Ntuple),
		Eswitch: caps.Eswitch(c.devlink.Eswitch[d.Parent]),
		Qdisc:   caps.Qdisc{Root: d.Qdisc.Root, Shaper: d.Qdisc.Shaper},
		XDP:     xdpFeatures(d.XDP),
		Queues: caps.Queues{
			Rx: int(more.Channels.Rx), Tx: int(more.Channels.Tx), Combined: int(more.Channels.Combined),
			MaxRx: int(more.Channels.MaxRx), MaxTx: int(more.Channels.MaxTx), MaxCombined: int(more.Channels.MaxCombined),
		},
		Rings: caps.Rings{
			Rx: int(more.Rings.Rx), Tx: int(more.Rings.Tx), MaxRx: int(more.Rings.MaxRx), MaxTx: int(more.Rings.MaxTx),
		},
	}
	if d.Master != nil {
		out.Master = d.Master.Name
	}
	for _, u := range d.Uppers {
		out.Uppers = append(out.Uppers, u.Name)
	}
	if d.Kind == "veth" {
		out.Peer = c.names[d.Lower]
	}
	if d.VLAN != 0 {
		out.VLAN = &caps.VLAN{ID: int(d.VLAN), Protocol: vlanProtocol(d.VLANProtocol)}
	}
	for _, p := range d.ForeignXDP {
		out.XDPPrograms = append(out.XDPPrograms, caps.Program{ID: p.ID, Name: p.Name, Mode: string(p.Mode)})
	}
	for _, f := range d.ForeignFilters {
		out.Filters = append(out.Filters, caps.Filter{Egress: f.Egress, Text: f.String()})
	}
	return out
}

// lower are the devices a device stands on.
func (c converter) lower(d link.Device) []string {
	switch d.Kind {
	case "bridge", "bond", "team", "vrf":
		var out []string
		for _, p := range c.all {
			if p.Master != nil && p.Master.Ifindex == d.Ifindex {
				out = append(out, p.Name)
			}
		}
		return out
	case "ppp":
		if c.pppoe != "" {
			return []string{c.pppoe}
		}
		return nil
	}
	if name := c.names[d.Below()]; name != "" && d.Kind != "dsa" {
		return []string{name}
	}
	return nil
}

// port is a device's place in a switch.
func (c converter) port(d link.Device) caps.Switch {
	s := caps.Switch{ID: d.SwitchID, PortName: d.PortName}
	flavour, known := c.devlink.Flavour[d.Ifindex]
	switch {
	case d.Kind == "dsa":
		s.Role, s.Conduit = caps.RoleDSAPort, c.names[d.Below()]
	case known && flavour.Representor(), representorName(d.PortName):
		s.Role = caps.RoleRepresentor
	case d.SwitchID != "" && known && flavour == link.FlavourPhysical:
		s.Role = caps.RoleUplink
	case d.SwitchID != "":
		s.Role = caps.RoleSwitchPort
	case c.carriesSwitch(d):
		s.Role = caps.RoleConduit
	}
	return s
}

// representorName reads phys_port_name as devlink makes it (devlink_port_phys_port_name): "pf0", "pf0vf3", "c1pf0sf88".
func representorName(s string) bool {
	return regexp.MustCompile(`^(c\d+)?pf\d+((vf|sf)\d+)?$`).MatchString(s)
}

// carriesSwitch reports whether ports of a DSA switch stand on a device.
func (c converter) carriesSwitch(d link.Device) bool {
	for _, u := range d.Uppers {
		if u.Kind == "dsa" {
			return true
		}
	}
	return false
}

// typeName names the kinds of frames that devices carry (include/uapi/linux/if_arp.h).
func typeName(arphrd uint16) string {
	switch arphrd {
	case unix.ARPHRD_ETHER:
		return "ether"
	case unix.ARPHRD_LOOPBACK:
		return "loopback"
	case unix.ARPHRD_PPP:
		return "ppp"
	case unix.ARPHRD_NONE:
		return "none"
	}
	return fmt.Sprintf("arphrd-%d", arphrd)
}

func toggle(d link.Device, feature string) caps.Toggle {
	f, ok := d.Features[feature]
	switch {
	case !ok:
		return ""
	case f.On && f.Fixed:
		return caps.OnFixed
	case f.On:
		return caps.On
	case f.Fixed:
		return caps.OffFixed
	}
	return caps.Off
}

func xdpFeatures(x link.XDPFeatures) caps.XDP {
	out := caps.XDP{Known: x.Known}
	for _, f := range []struct {
		bit  link.XDPFeature
		name caps.XDPFeature
	}{
		{link.XDPBasic, caps.XDPBasic},
		{link.XDPRedirect, caps.XDPRedirect},
		{link.XDPNdoXmit, caps.XDPNdoXmit},
		{link.XDPZeroCopy, caps.XDPZeroCopy},
		{link.XDPHWOffload, caps.XDPHWOffload},
		{link.XDPRxSG, caps.XDPRxSG},
		{link.XDPNdoXmitSG, caps.XDPNdoXmitSG},
	} {
		if x.Has(f.bit) {
			out.Features = append(out.Features, f.name)
		}
	}
	return out
}
