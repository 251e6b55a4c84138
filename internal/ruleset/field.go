package ruleset

import "strings"

// Field is where a field is, and what it holds. Offsets count bits from the most significant one of the first byte, as
// in `@th,16,32`.
type Field struct {
	Base   string // "ll", "nh", "th", "ih" (behind the transport header); empty: the beginning of the header itself
	Offset int    // bits
	Bits   int
	Type   string // datatype
}

// PayloadField returns a field of a header by its names in nft(8), PAYLOAD EXPRESSIONS, and nft's own templates
// (src/proto.c). VLAN fields count from the end of the Ethernet header, which is in front of the tag: nft reads
// `vlan id` at @ll,116,12. Fields of tunnel headers and of what is inside of a tunnel count from their own header.
func PayloadField(proto, field string) (Field, bool) {
	base, table := header(proto)
	f, ok := find(table, field)
	f.Base = base
	if proto == "vlan" {
		f.Offset += 112
	}
	return f, ok
}

// HeaderField returns a field of an IPv6 extension header, counted from the header's beginning.
func HeaderField(name, field string) (Field, bool) {
	if i, array := index(field); array {
		// An array of addresses: addr[1] and sid[1] are the first.
		switch {
		case i < 1, name == "rt0" && !strings.HasPrefix(field, "addr"), name == "srh" && !strings.HasPrefix(field, "sid"):
			return Field{}, false
		case name == "rt0", name == "srh":
			return Field{Offset: 64 + 128*(i-1), Bits: 128, Type: "ipv6_addr"}, true
		}
	}
	return find(extensionHeader(name), field)
}

// index reads the number in a field like "addr[2]".
func index(field string) (int, bool) {
	_, rest, ok := strings.Cut(field, "[")
	digits, closed := strings.CutSuffix(rest, "]")
	if !ok || !closed || digits == "" || len(digits) > 2 {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// OptionField returns a field of a TCP or IPv4 option or an SCTP chunk, counted from the option's beginning, and the
// number of the option's kind. An empty field is the whole option, or whether there is one.
func OptionField(kind, name, field string) (f Field, number uint8, ok bool) {
	var table string
	switch kind {
	case "tcp option":
		number, table, ok = tcpOption(name)
	case "ip option":
		number, table, ok = ipOption(name)
	case "sctp chunk":
		number, table, ok = sctpChunk(name)
	}
	if !ok || field == "" {
		return Field{Bits: 8, Type: "boolean"}, number, ok
	}
	f, ok = find(table, field)
	return f, number, ok
}

// find reads a field out of a table of "name:offset:bits:datatype" words; without a datatype it is an integer.
// Names with a blank in them have an underscore there.
func find(table, field string) (Field, bool) {
	if field == "" || strings.Contains(field, "_") {
		return Field{}, false
	}
	name := strings.ReplaceAll(field, " ", "_") + ":"
	for at := 0; ; at++ {
		i := strings.Index(table[at:], name)
		if i < 0 {
			return Field{}, false
		}
		if at += i; at > 0 && table[at-1] != ' ' {
			continue
		}
		row, _, _ := strings.Cut(table[at+len(name):], " ")
		off, rest, _ := strings.Cut(row, ":")
		bits, datatype, _ := strings.Cut(rest, ":")
		if datatype == "" {
			datatype = "integer"
		}
		return Field{Offset: decimal(off), Bits: decimal(bits), Type: datatype}, true
	}
}

// decimal reads a number of a table.
func decimal(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

const portFields = "sport:0:16:inet_service dport:16:16:inet_service "

// header returns the base and the fields of a protocol's header.
func header(proto string) (base, table string) {
	switch proto {
	case "ether":
		return "ll", "daddr:0:48:ether_addr saddr:48:48:ether_addr type:96:16:ether_type"
	case "vlan":
		return "ll", "pcp:0:3 cfi:3:1 dei:3:1 id:4:12 type:16:16:ether_type"
	case "arp":
		return "nh", "htype:0:16 ptype:16:16:ether_type hlen:32:8 plen:40:8 operation:48:16:arp_op " +
			"saddr_ether:64:48:ether_addr saddr_ip:112:32:ipv4_addr daddr_ether:144:48:ether_addr daddr_ip:192:32:ipv4_addr"
	case "ip":
		return "nh", "version:0:4 hdrlength:4:4 dscp:8:6:dscp ecn:14:2:ecn length:16:16 id:32:16 frag-off:48:16 ttl:64:8 " +
			"protocol:72:8:inet_proto checksum:80:16 saddr:96:32:ipv4_addr daddr:128:32:ipv4_addr"
	case "ip6":
		return "nh", "version:0:4 dscp:4:6:dscp ecn:10:2:ecn flowlabel:12:20 length:32:16 nexthdr:48:8:inet_proto " +
			"hoplimit:56:8 saddr:64:128:ipv6_addr daddr:192:128:ipv6_addr"
	}
	return tunnelHeader(proto)
}

// tunnelHeader are the headers that may have another packet behind them.
func tunnelHeader(proto string) (base, table string) {
	switch proto {
	case "gre", "gretap":
		return "th", "flags:0:5 version:13:3 protocol:16:16:ether_type"
	case "vxlan":
		return "ih", "flags:0:8 vni:32:24"
	case "geneve":
		return "ih", "ver:0:2 optlen:2:6 flags:8:8 protocol:16:16:ether_type type:16:16:ether_type vni:32:24"
	}
	return "th", transportHeader(proto)
}

func transportHeader(proto string) string {
	switch proto {
	case "icmp":
		return "type:0:8:icmp_type code:8:8:icmp_code checksum:16:16 id:32:16 sequence:48:16 gateway:32:32 mtu:48:16"
	case "icmpv6":
		return "type:0:8:icmpv6_type code:8:8:icmpv6_code checksum:16:16 parameter-problem:32:32 packet-too-big:32:32 mtu:32:32 " +
			"id:32:16 sequence:48:16 max-delay:32:16 taddr:64:128:ipv6_addr daddr:192:128:ipv6_addr"
	case "igmp":
		return "type:0:8:igmp_type mrt:8:8 checksum:16:16 group:32:32"
	case "tcp":
		return portFields + "sequence:32:32 ackseq:64:32 doff:96:4 reserved:100:4 flags:104:8:tcp_flag window:112:16 checksum:128:16 urgptr:144:16"
	case "udp":
		return portFields + "length:32:16 checksum:48:16"
	case "udplite":
		return portFields + "csumcov:32:16 checksum:48:16"
	case "sctp":
		return portFields + "vtag:32:32 checksum:64:32"
	case "dccp":
		return portFields + "type:67:4:dccp_pkttype"
	case "th":
		return portFields
	case "ah":
		return "nexthdr:0:8:inet_proto hdrlength:8:8 reserved:16:16 spi:32:32 sequence:64:32"
	case "esp":
		return "spi:0:32 sequence:32:32"
	case "comp":
		return "nexthdr:0:8:inet_proto flags:8:8:bitmask cpi:16:16"
	}
	return ""
}

func extensionHeader(name string) string {
	const begin = "nexthdr:0:8:inet_proto hdrlength:8:8 "
	switch name {
	case "hbh", "dst":
		return begin
	case "rt":
		return begin + "type:16:8 seg-left:24:8"
	case "rt0":
		return begin + "reserved:32:32"
	case "rt2":
		return begin + "reserved:32:32 addr:64:128:ipv6_addr"
	case "srh":
		return begin + "last-entry:32:8 flags:40:8 tag:48:16"
	case "mh":
		return begin + "type:16:8:mh_type reserved:24:8 checksum:32:16"
	case "frag":
		return "nexthdr:0:8:inet_proto reserved:8:8 frag-off:16:13 reserved2:29:2 more-fragments:31:1 id:32:32"
	}
	return ""
}

// tcpOption returns a TCP option's kind (IANA) and fields.
func tcpOption(name string) (number uint8, table string, ok bool) {
	const begin = "kind:0:8 length:8:8 "
	switch name {
	case "eol":
		return 0, "kind:0:8", true
	case "nop":
		return 1, "kind:0:8", true
	case "maxseg":
		return 2, begin + "size:16:16", true
	case "window":
		return 3, begin + "count:16:8", true
	case "sack-perm", "sack-permitted":
		return 4, begin, true
	case "sack", "sack0":
		return 5, begin + "left:16:32 right:48:32", true
	case "sack1":
		return 5, begin + "left:80:32 right:112:32", true
	case "sack2":
		return 5, begin + "left:144:32 right:176:32", true
	case "sack3":
		return 5, begin + "left:208:32 right:240:32", true
	case "echo":
		return 6, begin, true
	case "echo-reply":
		return 7, begin, true
	case "timestamp":
		return 8, begin + "tsval:16:32 tsecr:48:32", true
	case "md5sig":
		return 19, begin, true
	case "mptcp":
		return 30, begin + "subtype:16:4", true
	case "fastopen":
		return 34, begin, true
	}
	return 0, "", false
}

// ipOption returns an IPv4 option's type (IANA) and fields.
func ipOption(name string) (number uint8, table string, ok bool) {
	const begin, route = "type:0:8 length:8:8 ", "ptr:16:8 addr:24:32:ipv4_addr" // a plain number before nft 1.1
	switch name {
	case "rr":
		return 7, begin + route, true
	case "lsrr":
		return 131, begin + route, true
	case "ssrr":
		return 137, begin + route, true
	case "ra":
		return 148, begin + "value:16:16", true
	}
	return 0, "", false
}

// sctpChunk returns an SCTP chunk's type (RFC 9260) and fields.
func sctpChunk(name string) (number uint8, table string, ok bool) {
	const begin = "type:0:8 flags:8:8 length:16:16 "
	const init = begin + "init-tag:32:32 a-rwnd:64:32 num-outbound-streams:96:16 num-inbound-streams:112:16 initial-tsn:128:32"
	switch name {
	case "data":
		return 0, begin + "tsn:32:32 stream:64:16 ssn:80:16 ppid:96:32", true
	case "init":
		return 1, init, true
	case "init-ack":
		return 2, init, true
	case "sack":
		return 3, begin + "cum-tsn-ack:32:32 a-rwnd:64:32 num-gap-ack-blocks:96:16 num-dup-tsns:112:16", true
	case "heartbeat", "heartbeat-ack", "abort":
		return map[string]uint8{"heartbeat": 4, "heartbeat-ack": 5, "abort": 6}[name], begin, true
	case "shutdown":
		return 7, begin + "cum-tsn-ack:32:32", true
	case "shutdown-ack", "error", "cookie-echo", "cookie-ack":
		return map[string]uint8{"shutdown-ack": 8, "error": 9, "cookie-echo": 10, "cookie-ack": 11}[name], begin, true
	case "ecne":
		return 12, begin + "lowest-tsn:32:32", true
	case "cwr":
		return 13, begin + "lowest-tsn:32:32", true
	case "shutdown-complete":
		return 14, begin, true
	case "asconf-ack":
		return 0x80, begin + "seqno:32:32", true
	case "forward-tsn":
		return 0xc0, begin + "new-cum-tsn:32:32", true
	case "asconf":
		return 0xc1, begin + "seqno:32:32", true
	}
	return 0, "", false
}
