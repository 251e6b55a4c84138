package eval

import (
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
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
	if n, ok := ruleset.Symbol(d.name, s); ok {
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
