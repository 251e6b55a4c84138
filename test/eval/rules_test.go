package eval_test

import (
	"fmt"
	"strings"
)

// profile is what a rule is about, so that its matches do not contradict each other, which nft refuses.
type profile struct {
	family string // "ip", "ip6" or ""
	l4     string // "tcp", "udp", "icmp", "icmpv6" or ""
}

// ruleset makes a ruleset of a few base chains with rules, and the probes.
func (r *random) ruleset() string {
	var b strings.Builder
	table := func(family, name, hook string, priority int) {
		fmt.Fprintf(&b, "table %s %s {\n%s\tchain c {\n\t\ttype filter hook %s priority %d; policy %s;\n", family, name, r.sets(), hook, priority,
			pick(r, "accept", "accept", "accept", "drop"))
		for range 3 + r.IntN(8) {
			b.WriteString("\t\t" + r.rule(family, true) + "\n")
		}
		b.WriteString("\t}\n")
		for _, sub := range []string{"s1", "s2", "s3"} {
			fmt.Fprintf(&b, "\tchain %s {\n", sub)
			for range 1 + r.IntN(4) {
				b.WriteString("\t\t" + r.rule(family, false) + "\n")
			}
			b.WriteString("\t}\n")
		}
		b.WriteString("}\n")
	}
	if r.often(70) {
		table("netdev", "n0", "ingress device "+pick(r, "r0", "r0", "p0"), r.IntN(20)-10)
	}
	if r.often(25) {
		table("bridge", "b0", pick(r, "prerouting", "input"), r.IntN(20)-10)
	}
	for i := range 1 + r.IntN(3) {
		table(pick(r, "inet", "inet", "ip", "ip6"), fmt.Sprint("i", i), pick(r, "prerouting", "prerouting", "input", "forward", "postrouting"),
			pick(r, -150, -150, 0, 0, 10, 250))
	}
	if r.often(10) {
		table("arp", "a0", "input", 0)
	}
	return jumps(r, b.String()) + probes()
}

// probes count what every hook lets through.
func probes() string {
	var b strings.Builder
	b.WriteString("table netdev probe {\n")
	for _, d := range []string{"r0", "p0", "br0"} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook ingress device %s priority 1000;\n\t\tcounter\n\t}\n", d, d)
	}
	// What the router says itself is not to be counted.
	b.WriteString("}\ntable inet probe {\n\tchain quiet {\n\t\ttype filter hook output priority -400; policy drop;\n\t}\n")
	for _, h := range []string{"prerouting", "input", "forward", "postrouting"} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 1000;\n\t\tcounter\n\t}\n", h, h)
	}
	b.WriteString("}\ntable bridge probe {\n")
	for _, h := range []string{"prerouting", "input"} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 1000;\n\t\tcounter\n\t}\n", h, h)
	}
	b.WriteString("}\n")
	return b.String()
}

// jumps puts targets in: chains jump only to chains after them, so there is no loop.
func jumps(r *random, text string) string {
	var b strings.Builder
	sub := 0
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); {
		case len(f) > 1 && f[0] == "chain" && f[1] == "c":
			sub = 1
		case len(f) > 1 && f[0] == "chain":
			sub = int(f[1][1]-'0') + 1
		}
		for strings.Contains(line, "TARGET") {
			to := pick(r, "return", "accept", "drop")
			if sub <= 3 {
				to = pick(r, "jump", "goto") + fmt.Sprint(" s", sub+r.IntN(4-sub))
			}
			line = strings.Replace(line, "TARGET", to, 1)
		}
		b.WriteString(line)
	}
	return b.String()
}

func (r *random) sets() string {
	return fmt.Sprintf(`	set addr4 {
		type ipv4_addr; flags interval
		elements = { 203.0.113.0/29, %s, 203.0.113.64-203.0.113.70 }
	}
	set port {
		type inet_service
		elements = { %d, 9999 }
	}
	set both {
		type ipv4_addr . inet_service; flags interval
		elements = { 203.0.113.0/26 . %d-1001, 203.0.113.200 . 443 }
	}
	map verdict {
		type inet_service : verdict
		elements = { %d : return, 9998 : accept }
	}
	map marks {
		type ipv4_addr : mark
		elements = { %s : 0x%x, 192.0.2.9 : 7 }
	}
`, pick(r, "198.51.100.2", "192.0.2.0/24"), r.port(), pick(r, 0, 53, 1000), r.port(), pick(r, "203.0.113.1", "203.0.113.7"), r.IntN(256))
}

// rule is one line: matches, a counter, perhaps a change, another match and counter, a verdict.
func (r *random) rule(family string, base bool) string {
	p := profile{}
	switch family {
	case "ip", "ip6":
		p.family = family
	case "arp":
		return r.arpRule()
	default:
		p.family = pick(r, "", "ip", "ip6")
	}
	p.l4 = pick(r, "", "tcp", "tcp", "udp", "icmp")
	if p.l4 == "icmp" {
		p.l4 = pick(r, "icmp", "icmpv6")
		if p.family == "ip" || p.family == "" && p.l4 == "icmp" {
			p.family, p.l4 = "ip", "icmp"
		} else {
			p.family, p.l4 = "ip6", "icmpv6"
		}
	}
	var parts []string
	used := map[string]bool{}
	match := func() string {
		for {
			m := r.match(family, p)
			k := subject(m)
			// nft lists < and > of two fields as a range of the second one.
			if strings.ContainsAny(m, "<>") {
				if used["order"] {
					continue
				}
				used["order"] = true
			}
			if !used[k] {
				used[k] = true
				return m
			}
		}
	}
	for range r.IntN(4) {
		parts = append(parts, match())
	}
	if r.often(20) {
		parts = append(parts, r.change(family, p))
	}
	parts = append(parts, "counter")
	switch r.IntN(12) {
	case 0:
		parts = append(parts, match(), "counter", pick(r, "accept", "return", "continue"))
	case 1:
		parts = append(parts, pick(r, "drop", "accept", "return"))
	case 2, 3:
		parts = append(parts, "TARGET")
	case 4:
		if p.l4 == "tcp" || p.l4 == "udp" {
			parts = append(parts, p.l4+" dport vmap "+pick(r, "@verdict", fmt.Sprintf("{ %d : TARGET, 1000-1003 : return, 9999 : drop }", pick(r, 22, 53, 80, 443))))
		}
	case 5:
		if !base {
			parts = append(parts, "return")
		}
	}
	return strings.Join(parts, " ")
}

// subject is what a match is about. nft lists two comparisons of one field as a range, and loses conditions of the link
// header where there are several, or extension headers: rules have one of each.
func subject(m string) string {
	f := strings.Fields(m)
	switch {
	case f[0] == "ether" || f[0] == "vlan", f[0] == "exthdr", f[0] == "frag", f[0] == "rt", f[0] == "hbh":
		return "link"
	case f[0] == "th", f[0] == "tcp" && f[1] != "option", f[0] == "udp", strings.HasPrefix(f[0], "@th"), strings.HasPrefix(f[0], "ip") && f[1] == "saddr":
		return "transport"
	case strings.HasPrefix(f[0], "@"):
		return "raw"
	}
	return f[0] + f[1]
}

func (r *random) arpRule() string {
	return pick(r, "arp operation request", "arp operation != request", "arp saddr ip 203.0.113.1", "arp saddr ip 203.0.113.0/30",
		"arp htype 1", "arp daddr ip { 203.0.113.77, 203.0.113.78 }", "arp saddr ether 02:00:00:00:09:01", "meta length > 20",
		"iifname \"r*\"", "meta protocol arp") + " counter " + pick(r, "", "", "drop", "accept", "TARGET")
}

// match is one match that fits the profile.
func (r *random) match(family string, p profile) string {
	kinds := []func(string, profile) string{r.matchMeta, r.matchNetwork, r.matchNetwork, r.matchTransport, r.matchTransport, r.matchRaw}
	if family == "netdev" || family == "bridge" {
		kinds = append(kinds, r.matchLink)
	}
	return pick(r, kinds...)(family, p)
}

func (r *random) matchMeta(family string, p profile) string {
	all := []string{
		fmt.Sprintf("meta length %s%d", pick(r, "", "> ", "< ", "!= ", ">= ", "<= "), pick(r, 28, 40, 48, 60, 61, 100, 228)),
		fmt.Sprintf("meta length %d-%d", pick(r, 20, 40), pick(r, 60, 200)),
		"meta mark " + pick(r, "0", "1", "!= 0", "0-3", "{ 1, 3, 0x10 }", "{ 0-2, 7 }", "!= { 0, 1 }"),
		"meta mark & 0x3 == " + pick(r, "1", "0", "3"),
		"meta mark and 0xf0 != 0x10",
		"meta l4proto " + pick(r, "{ tcp, udp }", "!= tcp", "{ icmp, ipv6-icmp }", "> 5", "!= { 6, 17 }", "0-60"),
		"meta pkttype " + pick(r, "host", "other", "broadcast", "multicast", "!= host", "{ host, multicast }"),
		"iifname " + pick(r, `"r0"`, `"r*"`, `"p0"`, `{ "r0", "lo" }`, `{ "p*", "lo" }`, `!= "r0"`, `"br*"`),
		"iif " + pick(r, "r0", "p0", "!= r0", "{ r0, br0 }"),
		"meta iifgroup " + pick(r, "0", "!= 0", "default"),
		"meta priority " + pick(r, "0", "1:2", "!= 0"),
	}
	if family != "ip" && family != "ip6" && p.family == "" {
		all = append(all, "meta protocol "+pick(r, "{ ip, ip6 }", "!= ip", "arp", "{ arp, 0x88cc }"))
	}
	if family == "inet" && p.family == "" {
		all = append(all, "meta nfproto "+pick(r, "ipv4", "ipv6", "!= ipv4"))
	}
	return pick(r, all...)
}

func (r *random) matchLink(_ string, p profile) string {
	all := []string{
		"ether saddr 02:00:00:00:09:0" + pick(r, "1", "2", "3"),
		"ether saddr { 02:00:00:00:09:01, 02:00:00:00:09:03 }",
		"ether saddr 02:00:00:00:09:01-02:00:00:00:09:02",
		"ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00",
		"ether daddr != ff:ff:ff:ff:ff:ff",
	}
	if p.family == "" && p.l4 != "icmp" && p.l4 != "icmpv6" {
		all = append(all, "ether type "+pick(r, "!= ip", "{ ip, arp }", "{ 0x8100, ip6 }"),
			"vlan id "+pick(r, "5", "!= 5", "{ 5, 10 }", "0-9"), "vlan pcp "+pick(r, "0", "3", "> 2"), "vlan dei 1")
	}
	return pick(r, all...)
}

func (r *random) matchNetwork(_ string, p profile) string {
	switch p.family {
	case "ip":
		return pick(r,
			"ip saddr "+pick(r, "203.0.113.1", "203.0.113.0/26", "203.0.113.0/29", "203.0.113.2-203.0.113.64", "!= 203.0.113.7",
				"{ 203.0.113.1, 203.0.113.64/30 }", "!= { 203.0.113.0/28 }", "@addr4", "!= @addr4"),
			"ip daddr "+pick(r, "192.0.2.9", "198.51.100.0/24", "!= 192.0.2.0/24"),
			"ip protocol "+pick(r, "!= udp", "{ tcp, icmp }", "> 6"),
			"ip dscp "+pick(r, "cs1", "af21", "!= cs0", "{ cs1, ef }", "0-20"),
			"ip ecn "+pick(r, "ce", "0", "!= 2"),
			"ip ttl "+pick(r, "1", "64", "> 64", "< 64", "1-63", "{ 63, 64, 255 }"),
			"ip length "+pick(r, "> 40", "20-60", "!= 48"),
			"ip id "+pick(r, "0", "1", "> 7", "{ 1, 7 }"),
			"ip frag-off & 0x1fff "+pick(r, "!= 0", "0"),
			"ip frag-off & 0x2000 "+pick(r, "!= 0", "0"),
			"ip version 4", "ip hdrlength "+pick(r, "5", "> 5"),
			"ip saddr & 0.0.0.7 == 0.0.0.1",
			"ip checksum != 0",
			"ip option "+pick(r, "rr", "ra", "lsrr")+pick(r, " exists", " missing"),
			"ip saddr . ip daddr { 203.0.113.1 . 192.0.2.9, 203.0.113.0/26 . 198.51.100.2 }",
		)
	case "ip6":
		return pick(r,
			"ip6 saddr "+pick(r, "2001:db8:ffff::1", "2001:db8:ffff::/122", "2001:db8:ffff::2-2001:db8:ffff::40", "!= 2001:db8:ffff::7",
				"{ 2001:db8:ffff::1, 2001:db8:ffff::40/126 }"),
			"ip6 daddr "+pick(r, "2001:db8:eeee::9", "2001:db8:2::/48", "!= 2001:db8:eeee::/64"),
			"ip6 nexthdr "+pick(r, "!= udp", "{ tcp, ipv6-icmp }", "> 5"),
			"ip6 dscp "+pick(r, "cs1", "af21", "!= cs0", "{ cs1, ef }", "0-20"),
			"ip6 ecn "+pick(r, "ce", "0", "!= 2"),
			"ip6 hoplimit "+pick(r, "1", "64", "> 64", "1-63"),
			"ip6 flowlabel "+pick(r, "0", "5", "!= 5", "{ 5, 0xfffff }", "> 4"),
			"ip6 length "+pick(r, "> 20", "0-60"),
			"exthdr "+pick(r, "frag", "hbh", "rt", "dst")+pick(r, " exists", " missing"),
			"frag frag-off "+pick(r, "0", "1", "!= 0"),
			"frag more-fragments "+pick(r, "0", "1"),
			"frag id "+pick(r, "9", "> 9"),
			"rt type "+pick(r, "0", "2", "!= 0"),
			"hbh hdrlength "+pick(r, "0", "> 0"),
			"ip6 saddr . ip6 daddr { 2001:db8:ffff::/122 . 2001:db8:eeee::9 }",
		)
	}
	return "meta length > " + pick(r, "0", "60")
}

func (r *random) matchTransport(_ string, p profile) string {
	ports := func(f string) string {
		return p.l4 + " " + f + " " + pick(r, "22", "53", "80", "443", "1000-1005", "{ 22, 80, 443 }", "{ 53, 1000-1002 }", "!= { 22, 53 }", "!= 80",
			"> 1000", "< 80", "@port", "!= 1000-2000", ">= 443", "<= 53")
	}
	switch p.l4 {
	case "tcp", "udp":
		all := []string{
			ports("dport"), ports("dport"), ports("sport"), p.l4 + " checksum != 0",
			"th dport " + pick(r, "53", "{ 22, 80 }"), p.l4 + " sport . " + p.l4 + " dport { 1000-1005 . 0-1000, 53 . 53 }",
		}
		if p.family == "ip" {
			all = append(all, "ip saddr . "+p.l4+" dport @both", "ip saddr . "+p.l4+" dport { 203.0.113.1 . 80, 203.0.113.7 . 22-443 }",
				p.l4+" dport . ip daddr { 80 . 192.0.2.9, 443 . 198.51.100.2 }")
		}
		if p.l4 == "udp" {
			return pick(r, append(all, "udp length "+pick(r, "> 8", "8-30", "!= 9"))...)
		}
		return pick(r, append(all,
			"tcp flags "+pick(r, "syn", "syn,ack", "== syn", "!= syn", "& (syn|ack) == syn", "& (fin|syn|rst|ack) == syn", "! rst", "& (syn|fin) != 0",
				"syn / fin,syn,rst,ack", "{ syn, ack, syn|ack }", "!= { syn, rst }", "== syn,ack", "& syn == 0"),
			"tcp window "+pick(r, "0", "> 1", "1-1024"), "tcp doff "+pick(r, "5", "> 5", "!= 5"), "tcp sequence "+pick(r, "1", "> 1"),
			"tcp urgptr 0",
			"tcp option "+pick(r, "maxseg", "sack-perm", "timestamp", "window", "sack", "md5sig")+pick(r, " exists", " missing"),
			"tcp option maxseg size "+pick(r, "1460", "> 1000", "!= 1460"), "tcp option timestamp tsval "+pick(r, "1", "> 0"),
			"tcp option window count "+pick(r, "7", "!= 7"), "tcp option sack0 left 1")...)
	case "icmp":
		return pick(r, "icmp type "+pick(r, "echo-request", "echo-reply", "destination-unreachable", "{ echo-request, time-exceeded }", "!= redirect", "3-8"),
			"icmp code "+pick(r, "0", "port-unreachable", "> 0"), "icmp id "+pick(r, "7", "!= 7"), "icmp sequence "+pick(r, "9", "> 9"))
	case "icmpv6":
		return pick(r, "icmpv6 type "+pick(r, "echo-request", "packet-too-big", "nd-neighbor-solicit", "{ echo-request, echo-reply }", "!= 1"),
			"icmpv6 code "+pick(r, "no-route", "> 0"), "icmpv6 id "+pick(r, "7", "!= 7"))
	}
	return pick(r, "th sport "+pick(r, "53", "> 1000"), "th dport "+pick(r, "80", "{ 22, 443 }", "1000-1005"))
}

func (r *random) matchRaw(_ string, p profile) string {
	if p.family != "" { // nft lists some bits of a known header as fields, and not always the same ones
		return pick(r, "@th,0,8 & 0xf == 3", "@ih,0,8 "+pick(r, "1", "!= 0", "> 100"), "@th,100,4 0")
	}
	return pick(r, "@th,16,16 "+pick(r, "80", "{ 22, 443 }", "> 1000"), "@nh,0,8 "+pick(r, "0x45", "!= 0x45", "0x60"), "@nh,64,8 > 64",
		"@th,0,8 & 0xf == 3", "@ih,0,8 "+pick(r, "1", "!= 0", "> 100"), "@nh,128,128 != 0", "@th,100,4 0", "@nh,9,7 > 3")
}

// change is a statement that changes the packet, or nothing.
func (r *random) change(family string, p profile) string {
	all := []string{
		"meta mark set " + pick(r, "1", "3", "0x10", "meta mark or 0x2", "meta mark and 0xf", "meta mark xor 0x5", "meta mark | 0x100"),
		"meta priority set " + pick(r, "1:2", "none"),
		`log prefix "x"`,
	}
	switch p.family {
	case "ip":
		all = append(all, "ip dscp set "+pick(r, "cs1", "cs0", "ef"), "ip ttl set "+pick(r, "64", "9"), "ip ecn set "+pick(r, "ce", "0"),
			"ip id set 7", "meta mark set ip saddr map @marks", "meta mark set ip saddr map { 203.0.113.0/29 : 3, 203.0.113.200 : 1 }",
			"meta mark set ip dscp", "ip saddr set 203.0.113.7")
	case "ip6":
		all = append(all, "ip6 dscp set "+pick(r, "cs1", "cs0", "ef"), "ip6 hoplimit set 64", "ip6 flowlabel set 5", "ip6 ecn set ce",
			"ip6 saddr set 2001:db8:ffff::7")
	}
	switch p.l4 {
	case "tcp", "udp":
		all = append(all, p.l4+" dport set "+pick(r, "80", "53"), p.l4+" sport set 1000", "meta mark set "+p.l4+" dport map { 80 : 1, 443 : 2, 1000-1005 : 3 }",
			"meta mark set "+p.l4+" dport")
	}
	if family == "netdev" || family == "bridge" {
		all = append(all, "meta pkttype set "+pick(r, "host", "other"))
	}
	return pick(r, all...)
}
