package space

import "strings"

// payloadType is the datatype of a header's field.
func payloadType(proto, field string) string {
	switch proto + " " + field {
	case "ip saddr", "ip daddr", "arp saddr ip", "arp daddr ip":
		return "ipv4_addr"
	case "ip6 saddr", "ip6 daddr":
		return "ipv6_addr"
	case "ether saddr", "ether daddr", "arp saddr ether", "arp daddr ether":
		return "ether_addr"
	case "ether type", "vlan type", "arp ptype":
		return "ether_type"
	case "ip protocol", "ip6 nexthdr":
		return "inet_proto"
	case "ip dscp", "ip6 dscp":
		return "dscp"
	case "ip ecn", "ip6 ecn":
		return "ecn"
	case "tcp flags":
		return "tcp_flag"
	case "arp operation":
		return "arp_op"
	case "icmp type":
		return "icmp_type"
	case "icmpv6 type":
		return "icmpv6_type"
	}
	return "integer"
}

func metaType(key string) string {
	switch key {
	case "l4proto":
		return "inet_proto"
	case "protocol":
		return "ether_type"
	case "nfproto":
		return "nf_proto"
	case "iif", "oif":
		return "iface_index"
	case "pkttype":
		return "pkt_type"
	case "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind", "sdifname":
		return "ifname"
	}
	return key
}

func ctType(key string) string {
	switch key {
	case "state", "status":
		return "ct_" + key
	}
	switch {
	case strings.HasPrefix(key, "ip "):
		return "ipv4_addr"
	case strings.HasPrefix(key, "ip6 "):
		return "ipv6_addr"
	}
	return key
}

// isFlags reports whether values of a type are bits, of which a match may ask for any.
func isFlags(typ string) bool {
	return typ == "tcp_flag" || typ == "ct_state" || typ == "ct_status"
}

// word is the number that a word stands for.
func word(typ, s string) (uint64, bool) {
	var words []string
	first := uint64(0)
	switch typ {
	case "inet_proto":
		return transportNumber(s)
	}
	_ = words
	_ = first
	return 0, false
}
