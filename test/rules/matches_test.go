package rules_test

import (
	"fmt"
	"strings"
)

// match is one match that fits the profile.
func (r *random) match(p profile) string {
	kinds := []func(profile) string{
		r.matchMeta, r.matchNetwork, r.matchNetwork, r.matchNetwork, r.matchTransport, r.matchTransport, r.matchTransport, r.matchLink,
	}
	if r.often(30) {
		kinds = append(kinds, r.matchRaw)
	}
	return pick(r, kinds...)(p)
}

func (r *random) matchMeta(p profile) string {
	all := []string{
		fmt.Sprintf("meta length %s%d", pick(r, "", "> ", "< ", "!= ", ">= ", "<= "), pick(r, 28, 40, 48, 60, 61, 100, 228)),
		fmt.Sprintf("meta length %d-%d", pick(r, 20, 40), pick(r, 60, 200)),
		"meta l4proto " + pick(r, "{ tcp, udp }", "!= tcp", "{ icmp, ipv6-icmp }", "> 5", "!= { 6, 17 }", "0-60", "sctp"),
		"meta pkttype " + pick(r, "host", "other", "broadcast", "multicast", "!= host", "{ host, multicast }"),
		"iifname " + pick(r, `"r0"`, `"r*"`, `"p0"`, `{ "r0", "lo" }`, `{ "p*", "lo" }`, `!= "r0"`, `"br*"`),
		"iif " + pick(r, "r0", "p0", "!= r0", "{ r0, d1 }"),
	}
	if r.often(15) {
		all = []string{
			"meta mark " + pick(r, "0", "1", "!= 0", "0-3", "{ 1, 3, 0x10 }"), "meta mark & 0x3 == " + pick(r, "1", "0"), "meta iifgroup " + pick(r, "0", "!= 0"),
			"meta priority " + pick(r, "0", "1:2", "!= 0"), "iiftype " + pick(r, "ether", "!= ether", "loopback"), "meta cpu != 200",
		}
	}
	if p.l3 == "" && p.l4 == "" {
		all = append(all, "meta protocol . meta l4proto "+pick(r, "@kinds", "{ ip . tcp, ip6 . 58 }"))
		all = append(all, "meta protocol "+pick(r, "{ ip, ip6 }", "!= ip", "arp", "{ arp, 0x88cc }", "ip6", "0x8100", "> 0x0800", "1", "4", "{ 1, 4, arp }"),
			"meta nfproto "+pick(r, "ipv4", "ipv6", "!= ipv4"))
	}
	return pick(r, all...)
}

func (r *random) matchLink(p profile) string {
	all := []string{
		"ether saddr 02:00:00:00:09:0" + pick(r, "1", "2", "7"),
		"ether saddr " + pick(r, "{ 02:00:00:00:09:01, 02:00:00:00:09:07 }", "@macs", "!= @macs", "!= { 02:00:00:00:09:02 }"),
		"ether saddr 02:00:00:00:09:01-02:00:00:00:09:40",
		"ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00",
		"ether daddr " + pick(r, "!= ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff", "02:00:00:00:08:08"),
	}
	if p.l3 == "" && p.l4 == "" {
		all = append(all, "ether type "+pick(r, "!= ip", "{ ip, arp }", "{ 0x8100, ip6 }", "0x88cc", "vlan", "< 0x0600"))
	}
	if r.often(50) {
		all = append(all, "vlan id "+pick(r, "5", "!= 5", "{ 5, 10 }", "0-9"), "vlan pcp "+pick(r, "0", "3", "> 2"), "vlan dei 1")
	}
	return pick(r, all...)
}

func (r *random) matchNetwork(p profile) string {
	switch p.l3 {
	case "ip":
		return r.match4(p)
	case "ip6":
		return r.match6(p)
	case "arp":
		return pick(r, "arp operation "+pick(r, "request", "!= request", "{ request, reply }", "> 1"), "arp saddr ip "+pick(r, "203.0.113.1", "203.0.113.0/26", "@host4"),
			"arp htype "+pick(r, "1", "!= 1"), "arp daddr ip { 203.0.113.64, 203.0.113.65 }", "arp saddr ether 02:00:00:00:09:01", "arp plen "+pick(r, "4", "> 3"),
			"arp ptype ip")
	}
	return "meta length > " + pick(r, "0", "60")
}

func (r *random) match4(p profile) string {
	all := []string{
		"ip saddr " + r.value4(), "ip saddr " + r.value4(), "ip saddr " + r.value4(), "ip daddr " + r.value4(), "ip daddr " + r.value4(),
		"ip dscp " + pick(r, "cs1", "af21", "!= cs0", "{ cs1, ef }", "0-20"), "ip ecn " + pick(r, "ce", "0", "!= 2"),
		"ip ttl " + pick(r, "1", "64", "> 64", "< 64", "1-63", "{ 63, 64, 255 }"), "ip length " + pick(r, "> 40", "20-60", "!= 48"),
		"ip id " + pick(r, "0", "1", "> 7", "{ 1, 7 }"), "ip frag-off & 0x1fff " + pick(r, "!= 0", "0"), "ip frag-off & 0x2000 " + pick(r, "!= 0", "0"),
		"ip version " + pick(r, "4", "!= 4"), "ip hdrlength " + pick(r, "5", "> 5", "< 5"), "ip saddr & 0.0.0.7 == 0.0.0.1", "ip saddr & 0.0.1.0 != 0", "ip checksum != 0",
		"ip saddr . ip daddr { 203.0.113.1 . 192.0.2.9, 203.0.113.0/26 . 198.51.100.2 }", "ip saddr . ip daddr { 203.0.113.1 . 203.0.113.2, 203.0.113.7 . 192.0.2.9 }",
	}
	if p.l4 == "" {
		all = append(all, "ip protocol "+pick(r, "!= udp", "{ tcp, icmp }", "> 6", "tcp", "sctp"), "ip option "+pick(r, "rr", "ra", "lsrr")+pick(r, " exists", " missing"))
	}
	return pick(r, all...)
}

// value4 is what an IPv4 address is compared with.
func (r *random) value4() string {
	return pick(r, "203.0.113.1", "203.0.113.0/26", "203.0.113.0/29", "203.0.113.2-203.0.113.64", "!= 203.0.113.7", "203.0.0.0/16", "192.0.2.9", "> 203.0.113.2",
		"{ 203.0.113.1, 203.0.113.64/30 }", "!= { 203.0.113.0/28 }", "@addr4", "!= @addr4", "@host4", "@host4", "!= @host4", "!= @host4", "@seen", "@all4", r.many4(), "198.51.100.0/24",
		"{ 203.0.113.1, 203.0.113.7, 192.0.2.9 }", "203.0.113.64/27", "128.0.0.0/1")
}

func (r *random) match6(p profile) string {
	all := []string{
		"ip6 saddr " + r.value6(), "ip6 saddr " + r.value6(), "ip6 daddr " + r.value6(), "ip6 dscp " + pick(r, "cs1", "af21", "!= cs0", "{ cs1, ef }", "0-20"),
		"ip6 ecn " + pick(r, "ce", "0", "!= 2"), "ip6 hoplimit " + pick(r, "1", "64", "> 64", "1-63"),
		"ip6 flowlabel " + pick(r, "0", "5", "!= 5", "{ 5, 0xfffff }", "> 4"), "ip6 length " + pick(r, "> 20", "0-60"), "ip6 version 6",
		"exthdr " + pick(r, "frag", "hbh", "rt", "dst") + pick(r, " exists", " missing"), "frag frag-off " + pick(r, "0", "1", "!= 0"),
		"frag more-fragments " + pick(r, "0", "1"), "frag id " + pick(r, "9", "> 9"), "rt type " + pick(r, "0", "2", "!= 0"), "hbh hdrlength " + pick(r, "0", "> 0"),
		"ip6 saddr . ip6 daddr { 2001:db8:ffff::/122 . 2001:db8:eeee::9 }", "ip6 saddr & ::7 == ::1",
	}
	if p.l4 == "" {
		all = append(all, "ip6 nexthdr "+pick(r, "!= udp", "{ tcp, ipv6-icmp }", "> 5", "tcp", "ipv6-opts"))
	}
	return pick(r, all...)
}

func (r *random) value6() string {
	return pick(r, "2001:db8:ffff::1", "2001:db8:ffff::/122", "2001:db8:ffff::2-2001:db8:ffff::40", "!= 2001:db8:ffff::7", "2001:db8::/32", "2001:db8:eeee::9",
		"{ 2001:db8:ffff::1, 2001:db8:ffff::40/126 }", "@addr6", "!= @addr6", "@host6", "!= 2001:db8:eeee::/64", "2001:db8:ffff::/121", "> 2001:db8:ffff::2",
		"{ 2001:db8:ffff::1, 2001:db8:2::2 }")
}

func (r *random) ports(p profile, field string) string {
	return p.l4 + " " + field + " " + pick(r, "22", "53", "80", "443", "1000-1005", "{ 22, 80, 443 }", "{ 53, 1000-1002 }", "!= { 22, 53 }", "!= 80",
		"> 1000", "< 80", "@port", "@port", "!= @port", "@ports", "@short", "!= @short", r.manyPorts(), "!= @ports", "!= 1000-2000", ">= 443", "<= 53", "& 0x3 == 1", "0")
}

// many4 is a set of addresses that is too long to be compared with one by one.
func (r *random) many4() string {
	var elems []string
	for i := range 10 + r.IntN(60) {
		switch {
		case i%7 == 3 && r.often(50):
			elems = append(elems, fmt.Sprintf("203.0.%d.0/%d", i, 24+r.IntN(8)))
		default:
			elems = append(elems, fmt.Sprintf("203.0.113.%d", 3*i))
		}
	}
	return "{ " + strings.Join(elems, ", ") + " }"
}

func (r *random) manyPorts() string {
	var elems []string
	ranges := r.often(50)
	for i := range 10 + r.IntN(60) {
		if ranges && i%5 == 0 {
			elems = append(elems, fmt.Sprintf("%d-%d", 100*i, 100*i+50))
			continue
		}
		elems = append(elems, fmt.Sprint(100*i+53))
	}
	return "{ " + strings.Join(elems, ", ") + " }"
}

func (r *random) matchTransport(p profile) string {
	switch p.l4 {
	case "tcp", "udp", "sctp":
		all := []string{
			r.ports(p, "dport"), r.ports(p, "dport"), r.ports(p, "sport"), p.l4 + " checksum != 0",
			"th dport " + pick(r, "53", "{ 22, 80 }"), p.l4 + " sport . " + p.l4 + " dport { 1000-1005 . 0-1000, 53 . 53 }",
		}
		if p.l3 == "ip" {
			all = append(all, "ip saddr . "+p.l4+" dport "+pick(r, "@both", "@pair", "!= @pair"), "ip saddr . "+p.l4+" dport { 203.0.113.1 . 80, 203.0.113.7 . 22-443 }",
				"ip saddr . "+p.l4+" dport { 203.0.113.1 . 80, 203.0.113.2 . 443, 203.0.113.1 . 22 }",
				p.l4+" dport . ip daddr { 80 . 192.0.2.9, 443 . 198.51.100.2 }")
		}
		if p.l3 == "ip6" {
			all = append(all, "ip6 saddr . meta l4proto . "+p.l4+" dport @both6", "ip6 saddr . "+p.l4+" dport { 2001:db8:ffff::1 . 80, 2001:db8:ffff::7 . 443 }")
		}
		switch p.l4 {
		case "udp":
			return pick(r, append(all, "udp length "+pick(r, "> 8", "8-30", "!= 9"))...)
		case "sctp":
			return pick(r, append(all, "sctp vtag "+pick(r, "0", "1", "> 0"))...)
		}
		return pick(r, append(all, r.matchTCP())...)
	case "icmp":
		return pick(r, "icmp type "+pick(r, "echo-request", "echo-reply", "destination-unreachable", "{ echo-request, time-exceeded }", "!= redirect", "3-8"),
			"icmp code "+pick(r, "0", "port-unreachable", "> 0"), "icmp id "+pick(r, "7", "!= 7"), "icmp sequence "+pick(r, "9", "> 9"))
	case "icmpv6":
		return pick(r, "icmpv6 type "+pick(r, "echo-request", "packet-too-big", "nd-neighbor-solicit", "{ echo-request, echo-reply }", "!= 1"),
			"icmpv6 code "+pick(r, "no-route", "> 0"), "icmpv6 id "+pick(r, "7", "!= 7"))
	}
	if p.l3 == "arp" {
		return r.matchNetwork(p)
	}
	switch {
	case p.l3 == "ip" && r.often(10):
		return pick(r, "igmp type "+pick(r, "membership-query", "!= membership-query"), "ah spi "+pick(r, "1", "> 0"), "esp spi "+pick(r, "1", "!= 1"), "comp cpi 1")
	case r.often(10):
		return pick(r, "dccp dport "+pick(r, "80", "22-443"), "udplite dport "+pick(r, "53", "!= 53"), "esp sequence > 0", "ah sequence 1")
	}
	return pick(r, "th sport "+pick(r, "53", "> 1000"), "th dport "+pick(r, "80", "{ 22, 443 }", "1000-1005"))
}

func (r *random) matchTCP() string {
	return pick(r,
		"tcp flags "+pick(r, "syn", "syn,ack", "== syn", "!= syn", "& (syn|ack) == syn", "& (fin|syn|rst|ack) == syn", "! rst", "& (syn|fin) != 0",
			"syn / fin,syn,rst,ack", "{ syn, ack, syn|ack }", "!= { syn, rst }", "== syn,ack", "& syn == 0", "& (fin|syn) == fin|syn"),
		"tcp flags "+pick(r, "syn", "& (syn|ack) == syn", "& (syn|rst) == syn|rst"),
		"tcp window "+pick(r, "0", "> 1", "1-1024"), "tcp doff "+pick(r, "5", "> 5", "!= 5"), "tcp sequence "+pick(r, "1", "> 1"),
		"tcp ackseq "+pick(r, "0", "77"), "tcp urgptr 0",
		"tcp option "+pick(r, "maxseg", "sack-perm", "timestamp", "window", "sack", "md5sig")+pick(r, " exists", " missing"),
		"tcp option maxseg size "+pick(r, "1460", "> 1000", "!= 1460"), "tcp option timestamp tsval "+pick(r, "1", "> 0"),
		"tcp option window count "+pick(r, "7", "!= 7"), "tcp option sack0 left 1")
}

func (r *random) matchRaw(p profile) string {
	if p.l3 != "" { // nft lists some bits of a known header as fields, and not always the same ones
		return pick(r, "@th,0,8 & 0xf == 3", "@ih,0,8 "+pick(r, "1", "!= 0", "> 100"), "@th,100,4 0")
	}
	return pick(r, "@th,16,16 "+pick(r, "80", "{ 22, 443 }", "> 1000"), "@nh,0,8 "+pick(r, "0x45", "!= 0x45", "0x60"), "@nh,64,8 > 64",
		"@th,0,8 & 0xf == 3", "@ih,0,8 "+pick(r, "1", "!= 0", "> 100"), "@nh,128,128 != 0", "@th,100,4 0", "@nh,9,7 > 3", "@ll,0,8 "+pick(r, "2", "!= 2"),
		"@ll,96,16 "+pick(r, "0x0800", "0x8100"), "@ll,128,16 0x86dd", "@nh,96,32 0xcb007101", "@ll,40,24 > 1")
}

// run is a number of rules of one shape, as lists of blocked hosts are.
func (r *random) run(b *strings.Builder) {
	addr4 := func() string { return fmt.Sprintf("10.%d.%d.%d", r.IntN(3), r.IntN(3), r.IntN(256)) }
	addr6 := func() string { return fmt.Sprintf("2001:db8:%x::%x", r.IntN(3), r.IntN(4000)) }
	port := func() int { return 1 + r.IntN(4000) }
	shape := pick(r,
		func() string { return "ip saddr " + addr4() },
		func() string { return "ip daddr " + addr4() + fmt.Sprintf(" tcp dport %d", port()) },
		func() string { return "ip saddr " + addr4() + fmt.Sprintf(" udp sport %d", port()) },
		func() string { return fmt.Sprintf("ip saddr %s/%d", addr4(), 8+r.IntN(25)) },
		func() string {
			return fmt.Sprintf("ip saddr %s/%d tcp dport %d", addr4(), pick(r, 16, 22, 24, 32), port())
		},
		func() string { p := port(); return fmt.Sprintf("tcp dport %d-%d", p, p+1+r.IntN(300)) },
		func() string { return fmt.Sprintf("udp dport %d", port()) },
		func() string { return "ip6 saddr " + addr6() },
		func() string { return fmt.Sprintf("ip6 saddr %s/%d", addr6(), pick(r, 48, 64, 113, 116, 127)) },
		func() string { return "ip6 daddr " + addr6() + fmt.Sprintf(" tcp dport %d", port()) },
		func() string { return fmt.Sprintf("ether saddr 02:00:00:00:09:%02x", r.IntN(256)) },
		func() string { return fmt.Sprintf("vlan id %d", r.IntN(16)) },
		func() string {
			return fmt.Sprintf("ip saddr { %s, %s } tcp dport { %d, %d }", addr4(), addr4(), port(), port())
		},
		func() string { return fmt.Sprintf("ip saddr %s meta length > %d", addr4(), r.IntN(100)) },
		func() string { return fmt.Sprintf("icmp type %d", r.IntN(20)) },
		func() string {
			return fmt.Sprintf("ip saddr . tcp dport { %s . %d, %s . %d }", addr4(), port(), addr4(), port())
		},
	)
	verdicts := pick(r, []string{"drop"}, []string{"drop", "accept"}, []string{"drop", "drop", "return", "accept", `fwd to "r1"`}, []string{"", "drop"})
	counter := r.IntN(3)
	for range (3 + r.IntN(40)) * max(r.long, 1) {
		line := shape()
		if counter == 0 || counter == 1 && r.often(50) {
			line += " counter"
		}
		b.WriteString("\t\t" + line + " " + pick(r, verdicts...) + "\n")
	}
}
