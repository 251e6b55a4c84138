package eval

import (
	"strconv"
	"strings"
)

// dtype is a datatype of nft: how constants of it are read, and how wide its values are.
type dtype struct {
	name string
	bits int
}

func (d dtype) bytes() int { return (d.bits + 7) / 8 }

// flags reports whether bits of the type have meanings of their own, so that a match without operator asks for any of
// the bits named (BASE_TYPE bitmask in nft).
func (d dtype) flags() bool {
	switch d.name {
	case "ct_state", "ct_status", "ct_label", "tcp_flag":
		return true
	}
	return false
}

// typeOf returns a datatype by the name that sets are declared with.
func typeOf(name string) (dtype, bool) {
	bits := 0
	switch name {
	case "inet_proto", "pkt_type", "tcp_flag", "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code", "icmpx_code",
		"igmp_type", "mh_type", "dccp_pkttype", "nf_proto", "ct_dir", "boolean", "day", "integer8":
		bits = 8
	case "dscp":
		bits = 6
	case "ecn":
		bits = 2
	case "inet_service", "ether_type", "arp_op", "iface_type":
		bits = 16
	case "ipv4_addr", "mark", "iface_index", "ct_state", "ct_status", "uid", "gid", "realm", "classid", "fib_addrtype",
		"devgroup", "cgroupsv2", "hour", "integer":
		bits = 32
	case "ether_addr":
		bits = 48
	case "time":
		bits = 64
	case "ipv6_addr", "ifname", "ct_label", "string":
		bits = 128
	default:
		return dtype{}, false
	}
	return dtype{name, bits}, true
}

// number reads a decimal or hexadecimal number.
func number(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 0, 64)
	return n, err == nil
}

// symbol returns the number behind a name of a datatype.
func symbol(d dtype, s string) (uint64, bool) {
	names := symbols(d.name)
	if n, ok := names[s]; ok {
		return n, true
	}
	if d.name == "classid" {
		return classID(s)
	}
	return 0, false
}

// classID reads "1:2", hexadecimal, as tc writes handles.
func classID(s string) (uint64, bool) {
	switch s {
	case "root":
		return 0xffffffff, true
	case "none":
		return 0, true
	}
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return 0, false
	}
	const half = 16
	a, err1 := strconv.ParseUint("0"+major, 16, half)
	b, err2 := strconv.ParseUint("0"+minor, 16, half)
	return a<<half | b, err1 == nil && err2 == nil
}

// symbols are the names nft prints for numbers of a datatype.
func symbols(name string) map[string]uint64 {
	switch name {
	case "inet_proto":
		return protocols()
	case "ether_type":
		return map[string]uint64{
			"ip": 0x0800, "arp": 0x0806, "ip6": 0x86dd, "vlan": 0x8100, "8021q": 0x8100, "8021ad": 0x88a8,
		}
	case "ct_state":
		return map[string]uint64{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
	case "ct_status":
		return map[string]uint64{
			"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512,
		}
	case "ct_dir":
		return map[string]uint64{"original": 0, "reply": 1}
	case "tcp_flag":
		return map[string]uint64{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
	case "icmp_type":
		return icmpTypes()
	case "icmpv6_type":
		return icmpv6Types()
	case "icmp_code":
		return map[string]uint64{
			"net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "frag-needed": 4,
			"net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
		}
	case "icmpv6_code":
		return map[string]uint64{
			"no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5, "reject-route": 6,
		}
	case "dscp":
		return dscps()
	case "ecn":
		return map[string]uint64{"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3}
	case "pkt_type":
		return map[string]uint64{"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}
	case "nf_proto":
		return map[string]uint64{"ipv4": pfIPv4, "ipv6": pfIPv6}
	case "iface_type":
		return map[string]uint64{"ether": 1, "ppp": 512, "ipip": 768, "ipip6": 769, "loopback": 772, "sit": 776, "ipgre": 778}
	case "arp_op":
		return map[string]uint64{"request": 1, "reply": 2, "rrequest": 3, "rreply": 4, "inrequest": 8, "inreply": 9, "nak": 10}
	case "boolean":
		return map[string]uint64{"exists": 1, "missing": 0}
	case "day":
		return map[string]uint64{
			"Sunday": 0, "Monday": 1, "Tuesday": 2, "Wednesday": 3, "Thursday": 4, "Friday": 5, "Saturday": 6,
		}
	case "fib_addrtype":
		return map[string]uint64{
			"unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
			"unreachable": 7, "prohibit": 8,
		}
	case "igmp_type":
		return map[string]uint64{
			"membership-query": 0x11, "membership-report-v1": 0x12, "membership-report-v2": 0x16, "leave-group": 0x17,
			"membership-report-v3": 0x22,
		}
	case "dccp_pkttype":
		return map[string]uint64{
			"request": 0, "response": 1, "data": 2, "ack": 3, "dataack": 4, "closereq": 5, "close": 6, "reset": 7, "sync": 8, "syncack": 9,
		}
	case "mh_type":
		return map[string]uint64{
			"binding-refresh-request": 0, "home-test-init": 1, "careof-test-init": 2, "home-test": 3, "careof-test": 4,
			"binding-update": 5, "binding-acknowledgement": 6, "binding-error": 7, "fast-binding-update": 8,
			"fast-binding-acknowledgement": 9, "fast-binding-advertisement": 10, "experimental-mobility-header": 11,
			"home-agent-switch-message": 12,
		}
	case "devgroup":
		return map[string]uint64{"default": 0}
	}
	return nil
}

func protocols() map[string]uint64 {
	return map[string]uint64{
		"ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12,
		"udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37, "idpr-cmtp": 38,
		"ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "skip": 57,
		"ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88, "ospf": 89,
		"ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "comp": 108, "vrrp": 112, "l2tp": 115,
		"isis": 124, "sctp": 132, "fc": 133, "mobility-header": 135, "udplite": 136, "mpls-in-ip": 137, "manet": 138,
		"hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, "ethernet": 143, "mptcp": 262,
	}
}

func icmpTypes() map[string]uint64 {
	return map[string]uint64{
		"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
		"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
		"timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
		"address-mask-request": 17, "address-mask-reply": 18,
	}
}

func icmpv6Types() map[string]uint64 {
	return map[string]uint64{
		"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
		"echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
		"mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
		"nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138, "ind-neighbor-solicit": 141,
		"ind-neighbor-advert": 142, "mld2-listener-report": 143,
	}
}

func dscps() map[string]uint64 {
	return map[string]uint64{
		"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56, "df": 0, "be": 0, "lephb": 1,
		"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28, "af33": 30,
		"af41": 34, "af42": 36, "af43": 38, "va": 44, "ef": 46,
	}
}
