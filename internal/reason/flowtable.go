package reason

// Why a flowtable cannot be made, or offloads less than it seems to.
const (
	FlowtableFamily Reason = firstFlowtable + iota
	FlowtableHookNotIngress
	FlowtableUnknownFlag
	FlowtableNoDevice
	FlowtableOneDevice
	FlowtableDeviceTwice
	FlowtableTooManyDevices
	FlowtableDeviceMissing
	FlowtableWildcard
	FlowtableUnused
	FlowtableWithoutOffloadFlag
	DeviceRefusedTCSetupFT
	LowestDeviceMissing
	UpperDeviceListed
	PathEndsAtDevice
)

const firstFlow = PathEndsAtDevice + 1

func flowtableInfo(r Reason) Info {
	if r <= FlowtableWildcard {
		return flowtableKernelInfo(r)
	}
	return flowtablePathInfo(r)
}

func flowtableKernelInfo(r Reason) Info {
	const api = "net/netfilter/nf_tables_api.c "
	switch r {
	case FlowtableFamily:
		return Info{
			"flowtable-family", "flowtables belong to families ip, ip6 and inet",
			"move it to `table inet`", "net/netfilter/nf_flow_table_inet.c flowtable_inet, nf_flow_table_inet.c nf_flow_inet_module_init", "",
		}
	case FlowtableHookNotIngress:
		return Info{
			"flowtable-hook-not-ingress", "a flowtable's hook is ingress",
			"`hook ingress priority 0;`", api + "nft_flowtable_parse_hook", "",
		}
	case FlowtableUnknownFlag:
		return Info{
			"flowtable-unknown-flag", "the kernel knows the flowtable flags offload and counter only",
			"leave the flag out", api + "nf_tables_newflowtable, NFT_FLOWTABLE_MASK", "",
		}
	case FlowtableNoDevice:
		return Info{
			"flowtable-no-device", "the flowtable lists no device: it sees no packet",
			"`devices = { LAN, WAN };`", api + "nft_flowtable_parse_hook", "",
		}
	case FlowtableOneDevice:
		return Info{
			"flowtable-one-device", "the flowtable lists one device: packets that come in by any other stay slow, so no flow between two devices is carried both ways",
			"list the devices of both directions", "net/netfilter/nf_flow_table_ip.c nf_flow_offload_ip_hook (runs on listed devices)", "",
		}
	case FlowtableDeviceTwice:
		return Info{
			"flowtable-device-twice", "a device is in two flowtables of one table, which the kernel refuses (EEXIST)",
			"one flowtable for all of them", api + "nft_register_flowtable_net_hooks", "",
		}
	case FlowtableTooManyDevices:
		return Info{
			"flowtable-too-many-devices", "a flowtable takes 256 devices",
			"list bridges' and VLANs' lowest devices only; or a second flowtable", api + "nf_tables_parse_netdev_hooks, NFT_NETDEVICE_MAX", "",
		}
	case FlowtableDeviceMissing:
		return Info{
			"flowtable-device-missing", "a device of the flowtable does not exist: the kernel refuses the flowtable, and with it the whole ruleset",
			"`nft-offload load FILE` leaves such devices out and reports them", api + "nft_netdev_hook_alloc; gh:openwrt/openwrt#9920, gh:firewalld/firewalld#1230", "before 6.16",
		}
	case FlowtableWildcard:
		return Info{
			"flowtable-wildcard", "a device name with `*`: before Linux 6.16 the kernel takes it for a device of that very name",
			"list the devices by name", api + "nft_netdev_hook_alloc", "before 6.16",
		}
	default:
		return Info{}
	}
}

func flowtablePathInfo(r Reason) Info {
	const path = "net/netfilter/nf_flow_table_path.c (nft_flow_offload.c before 6.19) "
	switch r {
	case FlowtableUnused:
		return Info{
			"flowtable-unused", "no rule adds flows to the flowtable",
			"`meta l4proto { tcp, udp } ct state established flow add @NAME` in a forward chain", "nft(8) FLOWTABLES", "",
		}
	case FlowtableWithoutOffloadFlag:
		return Info{
			"flowtable-without-offload-flag", "the flowtable has no `flags offload`: its flows run in the kernel's software path",
			"nothing, or add `flags offload;` where all its devices can", "net/netfilter/nf_flow_table_offload.c nf_flow_table_offload_setup", "",
		}
	case DeviceRefusedTCSetupFT:
		return Info{
			"device-refused-tc-setup-ft", "a device's driver takes no flowtables (TC_SETUP_FT): with `flags offload` the kernel refuses the whole flowtable",
			"leave `flags offload` out, or put the devices that can into a flowtable of another table", "net/netfilter/nf_flow_table_offload.c nf_flow_table_offload_cmd; drivers with TC_SETUP_FT: mlx5 representors, mtk_eth_soc, airoha, mtk WED and mt76, DSA on these", "",
		}
	case LowestDeviceMissing:
		return Info{
			"lowest-device-missing", "packets of a listed device come in by a device below it that is not listed: flows are not found there",
			"list the lowest devices (the ports of a bridge, the NIC below a VLAN or PPPoE)", path + "nft_dev_forward_path", "",
		}
	case UpperDeviceListed:
		return Info{
			"upper-device-listed", "a device that stands on others is listed: the kernel looks for flows on the lowest devices",
			"list the lowest devices instead", path + "nft_dev_path_info; gh:openwrt/openwrt#10224, #14053, #9854", "",
		}
	case PathEndsAtDevice:
		return Info{
			"path-ends-at-device", "the kernel does not look below this kind of device (bond, team, macvlan, ipvlan, vxlan, gre, wireguard, tun): it is the flow's endpoint itself",
			"list this very device, not the ones below it", "include/linux/netdevice.h ndo_fill_forward_path (vlan, bridge, ppp, dsa, mac80211, ipip since 6.19, ip6_tnl since 7.0)", "",
		}
	default:
		return Info{}
	}
}
