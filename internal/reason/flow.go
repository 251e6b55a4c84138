package reason

// Why a flow that meets `flow add` is not carried by the kernel's flowtable, or not by hardware. The reasons of
// nft-offload's own table, which has no use for bpf_xdp_flow_lookup, are in seen.go.
const (
	FlowNoRule Reason = firstFlow + iota
	FlowNotForwarded
	FlowUntracked
	FlowUnconfirmed
	FlowTCPNotEstablished
	FlowTCPNotAssured
	FlowTCPClosing
	FlowProtocol
	FlowGREVersion
	FlowGRENAT
	FlowHelper
	FlowSeqAdjust
	FlowNATClash
	FlowDying
	FlowIPOptions
	FlowIPsec
	FlowAlreadyOffloaded
	FlowNoReverseRoute
	FlowNeighbour
	FlowLowerDeviceNotListed
	FlowEncapDepth
	FlowTunnelDepth
	FlowPathStack
	FlowZone
	// In the kernel's flowtable, not in hardware.
	FlowNotInHardware
	FlowXfrmNotInHardware
	FlowTunnelNotInHardware
	FlowIPv6NATNotInHardware
	FlowGRENotInHardware
	FlowTagNotInHardware
	FlowNotOfFTDriver
)

const firstPacket = FlowNotOfFTDriver + 1

func flowInfo(r Reason) Info {
	switch {
	case r <= FlowDying:
		return flowConntrackInfo(r)
	case r <= FlowZone:
		return flowPathInfo(r)
	default:
		return flowHardwareInfo(r)
	}
}

func flowConntrackInfo(r Reason) Info {
	const eval = "net/netfilter/nft_flow_offload.c nft_flow_offload_eval"
	switch r {
	case FlowNoRule:
		return Info{
			"flow-no-rule", "no rule handed the flow to `flow add`",
			"`nft-offload enable DEV DEV...`, or `meta l4proto { tcp, udp } ct state established flow add @NAME` before the rule that accepts it", eval, "",
		}
	case FlowNotForwarded:
		return Info{
			"flow-not-forwarded", "the flow begins or ends on this machine; flowtables carry forwarded flows",
			"measure between two other machines", eval + "; gh:openwrt/openwrt#24593", "",
		}
	case FlowUntracked:
		return Info{
			"flow-untracked", "conntrack does not know the flow (notrack)",
			"remove `notrack` for it", eval, "",
		}
	case FlowUnconfirmed:
		return Info{
			"flow-unconfirmed", "the conntrack entry is not confirmed: this was the flow's first packet",
			"nothing: a later packet may be the one", eval, "",
		}
	case FlowTCPNotEstablished:
		return Info{
			"flow-tcp-not-established", "the TCP connection is not established",
			"nothing, or look why the handshake does not end", eval + ", nf_conntrack_tcp_established", "",
		}
	case FlowTCPNotAssured:
		return Info{
			"flow-tcp-not-assured", "conntrack has not seen both directions of the TCP connection (not ASSURED)",
			"route both directions through this machine", eval + ", nf_conntrack_tcp_established; gh:openwrt/openwrt#24873", "",
		}
	case FlowTCPClosing:
		return Info{
			"flow-tcp-closing", "the TCP connection is being closed (FIN or RST)",
			"nothing", eval, "",
		}
	case FlowProtocol:
		return Info{
			"flow-protocol", "flowtables carry TCP, UDP and GRE; no other protocol",
			"nothing", eval, "",
		}
	case FlowGREVersion:
		return Info{
			"flow-gre-version", "GRE with a key or of version 1 (PPTP) is not carried",
			"nothing", eval + ", net/netfilter/nf_flow_table_ip.c nf_flow_tuple_ip", "",
		}
	case FlowGRENAT:
		return Info{
			"flow-gre-nat", "GRE is carried without NAT only",
			"nothing", eval, "",
		}
	case FlowHelper:
		return Info{
			"flow-helper", "a conntrack helper (ftp, sip, ...) watches the flow and has to see every packet",
			"assign helpers to the ports that need them only", eval, "",
		}
	case FlowSeqAdjust:
		return Info{
			"flow-seq-adjust", "a helper or synproxy changed the flow's sequence numbers, which goes on for every packet",
			"nothing", eval, "",
		}
	case FlowNATClash:
		return Info{
			"flow-nat-clash", "two packets raced for one NAT binding; the kernel keeps such a flow slow",
			"nothing: the next flow is another", eval, "",
		}
	case FlowDying:
		return Info{
			"flow-dying", "the conntrack entry is being deleted",
			"nothing", eval, "",
		}
	default:
		return Info{}
	}
}

func flowPathInfo(r Reason) Info {
	const (
		eval = "net/netfilter/nft_flow_offload.c nft_flow_offload_eval"
		path = "net/netfilter/nf_flow_table_path.c (nft_flow_offload.c before 6.19) "
	)
	switch r {
	case FlowIPOptions:
		return Info{"flow-ip-options", "the packet at `flow add` has IPv4 options", "nothing: a packet without them may be the one", eval, ""}
	case FlowIPsec:
		return Info{"flow-ipsec", "the packet came out of an IPsec tunnel", "nothing", eval, ""}
	case FlowAlreadyOffloaded:
		return Info{"flow-already-offloaded", "the flow is in a flowtable already, this one or act_ct's", "nothing", eval + ", IPS_OFFLOAD_BIT", ""}
	case FlowNoReverseRoute:
		return Info{
			"flow-no-reverse-route", "there is no route back by the device that the packet came in by, for this mark",
			"give the way back the route or rule that the way out has", path + "nft_flow_route", "",
		}
	case FlowNeighbour:
		return Info{
			"flow-neighbor-not-valid", "the next hop's MAC address is not known",
			"`ip neigh show`; ping the next hop", path + "nft_dev_fill_forward_path", "",
		}
	case FlowLowerDeviceNotListed:
		return Info{
			"flow-lower-device-not-listed", "the flow's lowest device is not in the flowtable, so its packets are not looked up there",
			"list that device", path + "nft_dev_forward_path", "",
		}
	case FlowEncapDepth:
		return Info{"flow-encap-depth", "more than two VLAN tags and PPPoE headers", "nothing", path + "nft_dev_path_info, NF_FLOW_TABLE_ENCAP_MAX", ""}
	case FlowTunnelDepth:
		return Info{"flow-tunnel-depth", "more than one IP tunnel, or one with an encapsulation limit", "nothing", path + "nft_dev_path_info", "6.19 and later know one tunnel"}
	case FlowPathStack:
		return Info{"flow-path-stack", "more than five devices stand on each other", "stack fewer", "include/linux/netdevice.h NET_DEVICE_PATH_STACK_MAX", ""}
	case FlowZone:
		return Info{
			"flow-zone", "the flow is in a conntrack zone, which a flowtable entry does not carry",
			"nothing, or do without zones", "include/net/netfilter/nf_flow_table.h struct flow_offload_tuple", "",
		}
	default:
		return Info{}
	}
}

func flowHardwareInfo(r Reason) Info {
	const hw = "net/netfilter/nf_flow_table_offload.c "
	switch r {
	case FlowNotInHardware:
		return Info{
			"flow-not-in-hardware", "the driver did not take the flow (conntrack says OFFLOAD, not HW_OFFLOAD); the kernel drops the driver's answer and tries again each second",
			"`nft-offload why flow ...` names the usual causes", hw + "flow_offload_rule_add", "",
		}
	case FlowXfrmNotInHardware:
		return Info{"flow-xfrm-not-in-hardware", "flows that leave by IPsec are not sent to hardware", "nothing", hw + "flow_offload_eth_src", ""}
	case FlowTunnelNotInHardware:
		return Info{"flow-tunnel-not-in-hardware", "flows in an IP tunnel are not sent to hardware", "nothing", hw + "nf_flow_offload_rule_alloc", "7.1"}
	case FlowIPv6NATNotInHardware:
		return Info{"flow-ipv6-nat-not-in-hardware", "MediaTek and Airoha engines do not translate IPv6 addresses", "route IPv6, do not translate it", "mediatek/mtk_ppe_offload.c mtk_flow_offload_replace, airoha/airoha_ppe.c", ""}
	case FlowGRENotInHardware:
		return Info{"flow-gre-not-in-hardware", "MediaTek and Airoha engines want ports, which GRE has not", "nothing", "mediatek/mtk_ppe_offload.c mtk_flow_offload_replace, airoha/airoha_ppe.c", ""}
	case FlowTagNotInHardware:
		return Info{"flow-tag-not-in-hardware", "hardware rules match 802.1Q tags, neither 802.1ad tags nor PPPoE sessions", "use 802.1Q", hw + "nf_flow_rule_match", ""}
	case FlowNotOfFTDriver:
		return Info{
			"flow-device-without-ft", "one of the flow's devices has a driver that takes no flowtables",
			"see its profile (`nft-offload doctor`)", hw + "nf_flow_table_offload_cmd", "",
		}
	default:
		return Info{}
	}
}
