package engine

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/reason"
)

const staySlow = "flows through it stay on the slow path"

// unfit says why packets cannot be looked up on a device, or not be sent to it as its own stack of devices does it.
// It is about what the device is, not about what hangs on it.
func (s *stack) unfit(l *Link) Reason {
	switch l.Kind {
	case "vti", "vti6", "xfrm":
		return Reason{reason.OffIPsecDevice, fmt.Sprintf("%s is an IPsec device: what a policy says of a packet is decided for each one", l.Name), staySlow}
	}
	switch {
	case l.Loopback:
		return Reason{reason.OffLoopback, fmt.Sprintf("%s is the loopback device", l.Name), "remove it from the flowtable"}
	case l.Ifindex > maxIfindex:
		return Reason{reason.OffBigIfindex, fmt.Sprintf("the interface index %d of %s is above %d", l.Ifindex, l.Name, maxIfindex), "recreate the device in a fresh network namespace, where numbers start low"}
	case l.External:
		return Reason{reason.OffExternalTunnel, fmt.Sprintf("%s takes each packet's destination from its route (external)", l.Name), staySlow}
	case !l.Ethernet:
		return bareUnfit(l)
	case !slices.Contains(ethernetKinds(), l.Kind):
		return Reason{reason.OffStacked, fmt.Sprintf("%s is a %s device, and such paths are not carried", l.Name, l.Kind), staySlow}
	}
	for _, u := range s.above[l.Name] {
		if u.Kind == "dsa" {
			return Reason{reason.OffStacked, fmt.Sprintf("%s carries the frames of the switch port %s, with the switch's own tags", l.Name, u.Name), "list the switch ports in the flowtable"}
		}
	}
	return portUnfit(l)
}

// ethernetKinds are the kinds of devices that receive and send Ethernet frames in their own right. A bond or team
// does that for its ports. Frames sent to a tunnel are encapsulated by it, whoever sends them.
func ethernetKinds() []string {
	return []string{
		"", "veth", "tun", "dummy", "ifb", "macvlan", "dsa", "bond", "team",
		"vxlan", "geneve", "gretap", "ip6gretap",
	}
}

// bareUnfit is unfit of a device without Ethernet frames.
func bareUnfit(l *Link) Reason {
	switch l.Kind {
	case "ppp", "wireguard", "tun", "ipip", "sit", "gre", "ip6gre", "ip6tnl":
	default:
		return Reason{reason.OffNotEthernet, fmt.Sprintf("%s does not carry Ethernet frames", l.Name), staySlow}
	}
	if !l.PointToPoint {
		// Such a tunnel asks the packet's route for its remote end (ip_tunnel_xmit, ip6_tnl_xmit), and GRE then has
		// the outer header as its link-layer header; a redirected packet has neither.
		return Reason{reason.OffNoRemote, fmt.Sprintf("the tunnel %s has no fixed remote end", l.Name), staySlow}
	}
	return portUnfit(l)
}

// portUnfit refuses the ports of devices that are looked up on themselves, and of those nobody knows.
func portUnfit(l *Link) Reason {
	switch {
	case l.Master == "" || l.MasterKind == kindBridge || l.MasterKind == kindVRF:
		return Reason{}
	case l.MasterKind == "bond" || l.MasterKind == "team":
		return Reason{reason.OffPort, fmt.Sprintf("%s is a port of the %s %s, where its packets are looked up", l.Name, l.MasterKind, l.Master), fmt.Sprintf("list %s in the flowtable", l.Master)}
	case l.MasterKind == "":
		return Reason{reason.OffPort, fmt.Sprintf("%s is a port of %s, and such paths are not carried", l.Name, l.Master), staySlow}
	}
	return Reason{reason.OffPort, fmt.Sprintf("%s is a port of the %s %s, and such paths are not carried", l.Name, l.MasterKind, l.Master), staySlow}
}

// exclusive reports whether a device is used only where nothing below it is: its frames pass the devices below as
// they are, and would be noted and learned from there as well.
func exclusive(l *Link) bool { return l.Kind == "macvlan" }

// tcOnly is why XDP is not used on a device of this kind, whatever its driver says.
func tcOnly(l *Link) Reason {
	switch {
	case !l.Ethernet:
		return Reason{reason.TCOnly, fmt.Sprintf("packets of %s have no Ethernet header", l.Name), ""}
	case l.Kind != "" && l.Kind != "veth":
		return Reason{reason.TCOnly, fmt.Sprintf("%s is a %s device", l.Name, l.Kind), ""}
	}
	return Reason{}
}
