package contract

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Path is what a flow's packets pass between the device that has the route and the lowest one.
type Path struct {
	Tags    int  // VLAN tags and PPPoE headers
	AD      bool // one of the tags is of 802.1ad
	PPPoE   bool
	Tunnels int
	Stack   int // devices that stand on each other
	Lowest  string
	Listed  []string // devices of the flowtable; nil: not known
}

// Bounds of the kernel (include/net/netfilter/nf_flow_table.h, include/linux/netdevice.h).
const (
	maxTags    = 2 // NF_FLOW_TABLE_ENCAP_MAX
	maxTunnels = 1
	maxStack   = 5 // NET_DEVICE_PATH_STACK_MAX
)

// Down follows a device of a machine down to the lowest one, as the kernel does. Of a bridge it takes the first port.
func Down(m caps.Machine, device string) Path {
	p := Path{Lowest: device}
	seen := map[string]bool{}
	for !seen[p.Lowest] {
		seen[p.Lowest] = true
		p.Stack++
		d, ok := m.Device(p.Lowest)
		if !ok {
			break
		}
		down := Followed(d)
		switch d.Kind {
		case "ipip":
			p.Tunnels, down = p.Tunnels+1, m.Kernel.Version.AtLeast(6, 19)
		case "ip6tnl":
			p.Tunnels, down = p.Tunnels+1, m.Kernel.Version.AtLeast(7, 0)
		}
		if !down || len(d.Lower) == 0 {
			break
		}
		switch d.Kind {
		case "vlan":
			p.Tags++
			p.AD = p.AD || d.VLAN != nil && d.VLAN.Protocol == "802.1ad"
		case "ppp", "pppoe":
			p.Tags, p.PPPoE = p.Tags+1, true
		}
		p.Lowest = d.Lower[0]
	}
	return p
}

// With is a path that is as deep as the deeper one of the two ways of a flow. Its lowest device stays.
func (p Path) With(back Path) Path {
	p.Tags, p.Tunnels, p.Stack = max(p.Tags, back.Tags), max(p.Tunnels, back.Tunnels), max(p.Stack, back.Stack)
	p.AD, p.PPPoE = p.AD || back.AD, p.PPPoE || back.PPPoE
	return p
}

// Followed reports whether the kernel looks below a device of a kind that it has long looked below (ndo_fill_forward_path).
func Followed(d caps.Device) bool {
	if d.Switch.Role == caps.RoleDSAPort {
		return false // found on the port itself, behind the conduit's tag
	}
	return slices.Contains([]string{"bridge", "vlan", "ppp", "pppoe"}, d.Kind)
}

// Refused says why the kernel finds no way down to the lowest device, or looks the flow up nowhere.
func (p Path) Refused() reason.Reason {
	switch {
	case p.Stack > maxStack:
		return reason.FlowPathStack
	case p.Tags > maxTags:
		return reason.FlowEncapDepth
	case p.Tunnels > maxTunnels:
		return reason.FlowTunnelDepth
	case p.Lowest != "" && p.Listed != nil && !slices.Contains(p.Listed, p.Lowest):
		return reason.FlowLowerDeviceNotListed
	}
	return reason.None
}

// IPsec reports whether packets of a kind of device are of IPsec.
func IPsec(kind string) bool { return slices.Contains([]string{"vti", "vti6", "xfrm"}, kind) }
