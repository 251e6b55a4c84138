package reason

// What is the matter with a device.
const (
	DeviceUnknown Reason = firstDevice + iota
	DeviceDown
	DeviceNoProfile
	NoNdoSetupTC
	HwTcOffloadOff
	BlockBusy
	NtupleOn
	EswitchLegacy
	NoNativeXDP
	EgressLacksXDPXmit
	QueuesFewerThanCPUs
	RingSmall
	DeviceForeignXDP
	DeviceForeignFilter
	DeviceShaped
	DeviceSlowLink
	DeviceIsUpper
	DeviceNoFT
	ChainAndFlowtableClash
	HookChosen
	DeviceNotEthernet
	DeviceWildcard
)

const firstMachine = DeviceWildcard + 1

func deviceInfo(r Reason) Info {
	if r <= EswitchLegacy {
		return deviceHardwareInfo(r)
	}
	return deviceXDPInfo(r)
}

func deviceHardwareInfo(r Reason) Info {
	switch r {
	case DeviceUnknown:
		return Info{"device-unknown", "the machine has no device of this name, now", "`ip link`; the name may be another, or the device comes later", "rtnetlink(7)", ""}
	case DeviceDown:
		return Info{"device-down", "the device is switched off, or has no carrier", "`ip link set DEV up`", "rtnetlink(7) IFF_UP, IFF_RUNNING", ""}
	case DeviceNoProfile:
		return Info{"device-no-profile", "no profile of this driver is known: what its hardware takes can only be tried", "`nft-offload doctor --probe`", "design of nft-offload", ""}
	case NoNdoSetupTC:
		return Info{"no-ndo-setup-tc", "the device hands no rules to hardware (no ndo_setup_tc, and no other driver does it for it)", "nothing: XDP or tc instead", "net/netfilter/nf_tables_offload.c nft_chain_offload_support", ""}
	case HwTcOffloadOff:
		return Info{"hw-tc-offload-off", "offload of rules is switched off", "`ethtool -K DEV hw-tc-offload on`", "include/net/pkt_cls.h tc_can_offload, ethtool(8)", ""}
	case BlockBusy:
		return Info{"block-busy", "tc rules or another offloaded chain already have the device (EBUSY)", "`tc qdisc show dev DEV`; remove the clsact or ingress qdisc whose rules are in hardware", "net/core/flow_offload.c flow_block_cb_setup_simple", ""}
	case NtupleOn:
		return Info{"ntuple-on", "the driver shares its rule table with ntuple filters, which are on", "`ethtool -K DEV ntuple off`", "marvell/octeontx2/nic/otx2_tc.c, read in Linux 7.1.5", ""}
	case EswitchLegacy:
		return Info{"eswitch-legacy", "the NIC's switch is in legacy mode: there are no representors, and flowtables are not taken", "`devlink dev eswitch set pci/ADDRESS mode switchdev` (interrupts traffic of its virtual functions)", "devlink-dev(8), mellanox/mlx5/core/en/rep/tc.c", ""}
	default:
		return Info{}
	}
}

func deviceXDPInfo(r Reason) Info {
	switch r {
	case NoNativeXDP:
		return Info{"no-native-xdp", "the driver has no native XDP with redirect", "nothing: tc carries the flows", "include/uapi/linux/netdev.h NETDEV_XDP_ACT_REDIRECT", ""}
	case EgressLacksXDPXmit:
		return Info{"egress-lacks-ndo-xdp-xmit", "the device takes no frames that XDP sends to it", "some drivers do once a program is attached to the device", "include/uapi/linux/netdev.h NETDEV_XDP_ACT_NDO_XMIT", ""}
	case QueuesFewerThanCPUs:
		return Info{"queues-fewer-than-cpus", "fewer receive queues than CPUs: some CPUs forward nothing", "`ethtool -L DEV combined N`, or RPS", "Documentation/networking/scaling.rst", ""}
	case RingSmall:
		return Info{"ring-small", "the receive ring is smaller than the device allows; bursts are lost", "`ethtool -G DEV rx N`", "ethtool(8)", ""}
	case DeviceForeignXDP:
		return Info{"device-foreign-xdp", "somebody else's XDP program is on the device; it is never replaced", "`ip link set dev DEV xdp off`, if nobody needs it", "ip-link(8)", ""}
	case DeviceForeignFilter:
		return Info{"device-foreign-filter", "somebody else's tc filter is on the device and would not see fast packets", "`tc filter show dev DEV ingress`, and egress", "tc(8)", ""}
	case DeviceShaped:
		return Info{"device-shaped", "a qdisc of the device shapes: flows leave through it by tc, not by XDP", "nothing", "tc(8), CLASSFUL QDISCS", ""}
	case DeviceSlowLink:
		return Info{"device-slow-link", "the link is no faster than what a CPU forwards anyway", "offload saves CPU time here, not more", "gh:openwrt/openwrt#19449, gh:sol1/shorewall-nft#3", ""}
	case DeviceIsUpper:
		return Info{"device-is-upper", "the device stands on others, which are where packets come in", "look at the devices below", "ip-link(8)", ""}
	case DeviceNoFT:
		return Info{"device-no-ft", "the driver takes no flowtables (TC_SETUP_FT): `flags offload` would be refused", "a flowtable without `flags offload`; nft-offload carries its flows", "grep of TC_SETUP_FT in Linux 7.1.5", ""}
	case ChainAndFlowtableClash:
		return Info{"chain-and-flowtable-clash", "an offloaded chain and a flowtable with `flags offload` ask one driver for the device", "one of the two", "net/core/flow_offload.c flow_block_cb_is_busy", ""}
	case HookChosen:
		return Info{"hook-chosen", "the user chose another hook for the device, or none", "leave `--device DEV=...` out", "nft-offload run --help", ""}
	case DeviceNotEthernet:
		return Info{"device-not-ethernet", "the device's packets have no Ethernet header, as programs expect it", "nothing", "include/uapi/linux/if_arp.h", ""}
	case DeviceWildcard:
		return Info{"device-wildcard", "an ingress chain hangs on all devices of a name with an asterisk, and this is one: which of its rules come first is not known", "list the devices of the chain by their names", "net/netfilter/nf_tables_api.c nft_hook_find_ops", "6.16 and later"}
	default:
		return Info{}
	}
}
