package reason

// Why the kernel's flowtable gives one packet of an offloaded flow to the slow path. The reasons of nft-offload's own
// fast path are in fastpath.go.
const (
	PacketFragment Reason = firstPacket + iota
	PacketOptions
	PacketTTL
	PacketExtHeader
	PacketTooLong
	PacketClosing
	PacketEncap
	PacketProtocol
)

const firstDevice = PacketProtocol + 1

func packetInfo(r Reason) Info {
	const ip = "net/netfilter/nf_flow_table_ip.c "
	switch r {
	case PacketFragment:
		return Info{"packet-fragment", "an IPv4 fragment: its ports are in another packet", "clamp the MSS, lower the sender's MTU", ip + "nf_flow_tuple_ip", ""}
	case PacketOptions:
		return Info{"packet-options", "IPv4 options", "nothing", ip + "ip_has_options", ""}
	case PacketTTL:
		return Info{"packet-ttl", "TTL or hop limit is 1: the kernel answers with ICMP", "nothing", ip + "nf_flow_tuple_ip", ""}
	case PacketExtHeader:
		return Info{"packet-ipv6-ext-header", "an IPv6 extension header before TCP, UDP or GRE", "nothing", ip + "nf_flow_tuple_ipv6", ""}
	case PacketTooLong:
		return Info{"packet-mtu-exceeded", "longer than the MTU that the flow was added with: the kernel fragments it, or answers with ICMP", "clamp the MSS: `tcp flags syn tcp option maxseg size set rt mtu`", ip + "nf_flow_exceeds_mtu", ""}
	case PacketClosing:
		return Info{"packet-closing", "FIN, RST, or a SYN on a closing connection: conntrack has to see it", "nothing", ip + "nf_flow_state_check", "to 6.12 FIN and RST end the flow, later ones mark it closing"}
	case PacketEncap:
		return Info{"packet-encapsulated", "neither IPv4 nor IPv6 as it comes, nor in one 802.1Q tag or a PPPoE session", "nothing", "net/netfilter/nf_flow_table_inet.c nf_flow_offload_inet_hook", ""}
	case PacketProtocol:
		return Info{"packet-protocol", "neither TCP nor UDP nor GRE version 0", "nothing", ip + "nf_flow_tuple_ip", ""}
	default:
		return Info{}
	}
}
