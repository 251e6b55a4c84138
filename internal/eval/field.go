package eval

import "github.com/nft-offload/nft-offload/internal/ruleset"

// field is a header field: where it is, counted from its header, and what type it has.
type field struct {
	base   string // "ll", "nh", "th"
	offset int    // bits
	typ    dtype
}

func f(base string, offset, bits int, typ string) field { return field{base, offset, dtype{typ, bits}} }

// fields are the header fields of a protocol, as src/proto.c of nftables defines them. The table is apart from that of
// package ruleset, which what is tested against this package uses.
func fields(proto string) map[string]field {
	const integer = "integer"
	switch proto {
	case "ether":
		return map[string]field{
			"daddr": f("ll", 0, 48, "ether_addr"), "saddr": f("ll", 48, 48, "ether_addr"), "type": f("ll", 96, 16, "ether_type"),
		}
	case "vlan": // behind the Ethernet header
		return map[string]field{
			"pcp": f("ll", 112, 3, integer), "cfi": f("ll", 115, 1, integer), "dei": f("ll", 115, 1, integer),
			"id": f("ll", 116, 12, integer), "type": f("ll", 128, 16, "ether_type"),
		}
	case "arp":
		return map[string]field{
			"htype": f("nh", 0, 16, integer), "ptype": f("nh", 16, 16, "ether_type"), "hlen": f("nh", 32, 8, integer),
			"plen": f("nh", 40, 8, integer), "operation": f("nh", 48, 16, "arp_op"),
			"saddr ether": f("nh", 64, 48, "ether_addr"), "saddr ip": f("nh", 112, 32, "ipv4_addr"),
			"daddr ether": f("nh", 144, 48, "ether_addr"), "daddr ip": f("nh", 192, 32, "ipv4_addr"),
		}
	case "ip":
		return map[string]field{
			"version": f("nh", 0, 4, integer), "hdrlength": f("nh", 4, 4, integer), "dscp": f("nh", 8, 6, "dscp"),
			"ecn": f("nh", 14, 2, "ecn"), "length": f("nh", 16, 16, integer), "id": f("nh", 32, 16, integer),
			"frag-off": f("nh", 48, 16, integer), "ttl": f("nh", 64, 8, integer), "protocol": f("nh", 72, 8, "inet_proto"),
			"checksum": f("nh", 80, 16, integer), "saddr": f("nh", 96, 32, "ipv4_addr"), "daddr": f("nh", 128, 32, "ipv4_addr"),
		}
	case "ip6":
		return map[string]field{
			"version": f("nh", 0, 4, integer), "dscp": f("nh", 4, 6, "dscp"), "ecn": f("nh", 10, 2, "ecn"),
			"flowlabel": f("nh", 12, 20, integer), "length": f("nh", 32, 16, integer), "nexthdr": f("nh", 48, 8, "inet_proto"),
			"hoplimit": f("nh", 56, 8, integer), "saddr": f("nh", 64, 128, "ipv6_addr"), "daddr": f("nh", 192, 128, "ipv6_addr"),
		}
	}
	return transportFields(proto)
}

func transportFields(proto string) map[string]field {
	const integer, port = "integer", "inet_service"
	switch proto {
	case "tcp":
		return map[string]field{
			"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port), "sequence": f("th", 32, 32, integer),
			"ackseq": f("th", 64, 32, integer), "doff": f("th", 96, 4, integer), "reserved": f("th", 100, 4, integer),
			"flags": f("th", 104, 8, "tcp_flag"), "window": f("th", 112, 16, integer), "checksum": f("th", 128, 16, integer),
			"urgptr": f("th", 144, 16, integer),
		}
	case "udp":
		return map[string]field{
			"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port), "length": f("th", 32, 16, integer),
			"checksum": f("th", 48, 16, integer),
		}
	case "udplite":
		return map[string]field{
			"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port), "csumcov": f("th", 32, 16, integer),
			"checksum": f("th", 48, 16, integer),
		}
	case "sctp":
		return map[string]field{
			"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port), "vtag": f("th", 32, 32, integer),
			"checksum": f("th", 64, 32, integer),
		}
	case "dccp":
		return map[string]field{
			"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port), "type": f("th", 67, 4, "dccp_pkttype"),
		}
	case "th":
		return map[string]field{"sport": f("th", 0, 16, port), "dport": f("th", 16, 16, port)}
	case "ah":
		return map[string]field{
			"nexthdr": f("th", 0, 8, "inet_proto"), "hdrlength": f("th", 8, 8, integer), "reserved": f("th", 16, 16, integer),
			"spi": f("th", 32, 32, integer), "sequence": f("th", 64, 32, integer),
		}
	case "esp":
		return map[string]field{"spi": f("th", 0, 32, integer), "sequence": f("th", 32, 32, integer)}
	case "comp":
		return map[string]field{
			"nexthdr": f("th", 0, 8, "inet_proto"), "flags": f("th", 8, 8, integer), "cpi": f("th", 16, 16, integer),
		}
	case "icmp":
		return map[string]field{
			"type": f("th", 0, 8, "icmp_type"), "code": f("th", 8, 8, "icmp_code"), "checksum": f("th", 16, 16, integer),
			"id": f("th", 32, 16, integer), "sequence": f("th", 48, 16, integer), "gateway": f("th", 32, 32, integer),
			"mtu": f("th", 48, 16, integer),
		}
	case "icmpv6":
		return map[string]field{
			"type": f("th", 0, 8, "icmpv6_type"), "code": f("th", 8, 8, "icmpv6_code"), "checksum": f("th", 16, 16, integer),
			"parameter-problem": f("th", 32, 32, integer), "mtu": f("th", 32, 32, integer), "id": f("th", 32, 16, integer),
			"sequence": f("th", 48, 16, integer), "max-delay": f("th", 32, 16, integer),
		}
	case "igmp":
		return map[string]field{
			"type": f("th", 0, 8, "igmp_type"), "mrt": f("th", 8, 8, integer), "checksum": f("th", 16, 16, integer),
			"group": f("th", 32, 32, "ipv4_addr"),
		}
	}
	return nil
}

// protoNumber is the number a transport protocol of nft has in the layer below.
func protoNumber(proto string) (uint8, bool) {
	if proto == "ip" || proto == "ip6" {
		return 0, false
	}
	n, ok := ruleset.Symbol("inet_proto", proto)
	return uint8(n), ok
}
