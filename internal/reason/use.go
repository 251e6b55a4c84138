package reason

// Why `run` does not use a device, or not at XDP. What the device itself lacks for XDP has the scope XDP.
const (
	OffByUser Reason = firstUse + iota
	OffNoDevice
	OffNotEthernet
	OffLoopback
	OffBigIfindex
	OffVRF
	OffStacked
	OffPort
	OffNoPort
	OffNotListed
	OffTooManyTags
	OffLowerElsewhere
	OffIPsecDevice
	OffExternalTunnel
	OffNoRemote
	OffDeviceChain
	OffBridgeChain
	OffForeignFilter
	OffForeignXDP
	OffQdiscAbove
	OffXDPBusy
	OffAttachFailed
	TCByDefault
	TCOnly
	RulesRefused
	RulesElements
	RulesUnread
)

const firstXDP = RulesUnread + 1

func useInfo(r Reason) Info {
	if r <= OffNoRemote {
		return useDeviceInfo(r)
	}
	return useObstacleInfo(r)
}

func useDeviceInfo(r Reason) Info {
	const law = "design of nft-offload: offload changes speed, never a verdict or a side effect"
	switch r {
	case OffByUser:
		return Info{"off-by-user", "the administrator keeps the device off (`--device DEVICE=off`)", "run without it", "nft-offload run --help", ""}
	case OffNoDevice:
		return Info{"no-device", "a flowtable lists a device that does not exist now", "nothing: it is taken up when it appears", "rtnetlink(7)", ""}
	case OffNotEthernet:
		return Info{"not-ethernet", "the device carries neither Ethernet frames nor, as far as is known, bare IP packets", "nothing", "include/uapi/linux/if_arp.h", ""}
	case OffLoopback:
		return Info{"loopback", "loopback traffic is not forwarded", "remove it from the flowtable", "include/uapi/linux/if.h IFF_LOOPBACK", ""}
	case OffBigIfindex:
		return Info{"ifindex-too-big", "the flow table's key has 24 bits for the interface index", "recreate the device in a fresh network namespace, where numbers start low", "design of nft-offload", ""}
	case OffVRF:
		return Info{"vrf", "a flowtable lists a VRF: packets are looked up on its members, which have to be listed", "list the members in the flowtable", "Documentation/networking/vrf.rst", ""}
	case OffStacked:
		return Info{"stacked-device", "the device stands on another one in a way that is not carried (ipvlan, MACsec, a macvlan on a device that is used itself)", "list one of the two in the flowtable", law, ""}
	case OffPort:
		return Info{"port", "the device is a port of a bond, a team or a switch, where its packets are looked up", "list the bond, team or switch in the flowtable", "net/core/dev.c __netif_receive_skb_core (rx_handler)", ""}
	case OffNoPort:
		return Info{"no-port", "the bridge has no ports", "nothing: they are taken up when they appear", "ip-link(8)", ""}
	case OffNotListed:
		return Info{"not-listed", "packets of a bridge come in by listed ports and by others that are used for another reason", "list all ports of the bridge in the flowtable", law, ""}
	case OffTooManyTags:
		return Info{"too-many-tags", "packets carry more than two VLAN tags", "nothing", "design of nft-offload", ""}
	case OffLowerElsewhere:
		return Info{"lower-elsewhere", "the device below the VLAN is in another network namespace", "nothing", "rtnetlink(7) IFLA_LINK_NETNSID", ""}
	case OffIPsecDevice:
		return Info{"ipsec-device", "the device stands for IPsec policies (vti, xfrm)", "nothing", "Documentation/networking/xfrm_device.rst", ""}
	case OffExternalTunnel:
		return Info{"external-tunnel", "the tunnel takes each packet's destination from its route (external)", "nothing", "ip-link(8), external", ""}
	case OffNoRemote:
		return Info{"no-remote", "the tunnel has no fixed remote end", "nothing", "ip-tunnel(8), remote", ""}
	default:
		return Info{}
	}
}

func useObstacleInfo(r Reason) Info {
	const law = "design of nft-offload: offload changes speed, never a verdict or a side effect"
	switch r {
	case OffDeviceChain:
		return Info{"netdev-chain", "a netdev chain on the device, or on one below it, has rules that fast packets would not pass", "remove the chain or its rules", law, ""}
	case OffBridgeChain:
		return Info{"bridge-chain", "a chain of family bridge has rules that fast packets would not pass", "remove the chain or its rules", law, ""}
	case OffForeignFilter:
		return Info{"foreign-tc-filter", "somebody else's tc filter or tcx program on the device, or on one below it, would not see fast packets", "remove it, or keep the device off with --device DEVICE=off", law, ""}
	case OffForeignXDP:
		return Info{"foreign-xdp-above", "somebody else's XDP program is on a device above the one where packets are looked up", "`ip link set dev DEV xdp off`, if nobody needs it", law, ""}
	case OffQdiscAbove:
		return Info{"qdisc-above", "a VLAN or bridge has a qdisc that fast packets, sent to the device below, would not pass", "put it on the device below", law, ""}
	case OffXDPBusy:
		return Info{"xdp-busy", "somebody else's XDP program is on the device; it is never replaced", "`ip link set dev DEV xdp off`, or use the tc hook", "the kernel's own answer (EBUSY, EEXIST)", ""}
	case OffAttachFailed:
		return Info{"attach-failed", "the kernel refused the program on this device", "see `nft-offload status` and the kernel log", "the kernel's own answer", ""}
	case TCByDefault:
		return Info{"tc-by-default", "tc is the default for this kind of device; --device DEVICE=xdp asks for XDP", "--device DEVICE=xdp for small packets", "drivers/net/veth.c (an XDP program costs TCP its segmentation offload)", ""}
	case TCOnly:
		return Info{"tc-only", "XDP is not used on this kind of device", "nothing", "design of nft-offload", ""}
	case RulesRefused:
		return Info{"rules-refused", "the kernel refused the program that a device's rules were made into: nftables executes them", "report it, with the ruleset; `nft-offload run --rules off` goes without", "kernel/bpf/verifier.c", ""}
	case RulesElements:
		return Info{"rules-elements", "the elements of a named set do not fit the program of a device's rules: nftables executes them", "make the set smaller", "the kernel's own answer (E2BIG, ENOMEM)", ""}
	case RulesUnread:
		return Info{"rules-unread", "the ruleset could not be read whole, so nftables executes all rules", "see `nft-offload status`", "nft(8)", ""}
	default:
		return Info{}
	}
}
