package rules_test

import (
	"fmt"
	"strings"
)

// ruleset makes base chains at the ingress of the lab's devices, with chains to jump to and sets. It also sets the
// values that frames are made of.
func (r *random) ruleset() string {
	var b strings.Builder
	r.clean, r.narrow = r.often(60), r.often(50)
	devices := pick(r, `device "r0"`, `device "p0"`, `devices = { "r0", "p0" }`, `devices = { "r0", "p0" }`)
	if r.size == 0 {
		r.size = pick(r, 1, 1, 1, 1, 1, 2)
		if r.often(3) {
			r.size = pick(r, 20, 60)
		}
	}
	b.WriteString("table netdev t {\n" + r.sets())
	r.base(&b, "c", devices, -10)
	if r.often(30) {
		r.base(&b, "d", pick(r, `device "r0"`, `device "p0"`, devices), pick(r, -20, 5))
	}
	r.subchains(&b)
	b.WriteString("}\n")
	if r.often(30) {
		// nft 1.0.6 takes one device for a chain of the inet family.
		b.WriteString("table inet i {\n" + r.sets())
		r.base(&b, "c", pick(r, `device "r0"`, `device "p0"`), pick(r, -30, 0, 20))
		r.subchains(&b)
		b.WriteString("}\n")
	}
	text := r.targets(b.String())
	r.values = valuesOf(text)
	r.aims = aimsOf(text)
	return text
}

func (r *random) base(b *strings.Builder, name, devices string, priority int) {
	fmt.Fprintf(b, "\tchain %s {\n\t\ttype filter hook ingress %s priority %d; policy %s;\n", name, devices, priority,
		pick(r, "accept", "accept", "accept", "drop"))
	for range r.size * (2 + r.IntN(6)) {
		if r.often(25) {
			r.run(b)
			continue
		}
		b.WriteString("\t\t" + r.rule() + "\n")
	}
	b.WriteString("\t}\n")
}

func (r *random) subchains(b *strings.Builder) {
	for _, name := range []string{"s1", "s2", "s3"} {
		fmt.Fprintf(b, "\tchain %s {\n", name)
		for range 1 + r.IntN(4) {
			b.WriteString("\t\t" + r.rule() + "\n")
		}
		b.WriteString("\t}\n")
	}
}

// targets puts targets in: chains jump only to chains after them, so there is no loop.
func (r *random) targets(text string) string {
	var b strings.Builder
	sub := 1
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); {
		case len(f) > 1 && f[0] == "table":
			sub = 1
		case len(f) > 1 && f[0] == "chain" && f[1][0] != 's':
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

// sets are the named ones of a table.
func (r *random) sets() string {
	var b strings.Builder
	set := func(kind, name, typ, flags string, elems ...string) {
		fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", kind, name, typ)
		if flags != "" {
			fmt.Fprintf(&b, "\t\tflags %s\n", flags)
		}
		if len(elems) > 0 {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(elems, ", "))
		}
		b.WriteString("\t}\n")
	}
	set("set", "host4", "ipv4_addr", "", "203.0.113.1", "203.0.113.64", fmt.Sprintf("192.0.2.%d", r.IntN(12)))
	set("set", "addr4", "ipv4_addr", "interval", "203.0.113.0/29", pick(r, "198.51.100.2", "192.0.2.0/24"), "203.0.113.64-203.0.113.70")
	set("set", "addr6", "ipv6_addr", "interval", "2001:db8:ffff::/126", pick(r, "2001:db8:eeee::9", "2001:db8:eeee::/48"))
	set("set", "host6", "ipv6_addr", pick(r, "", "timeout"), "2001:db8:ffff::7", "2001:db8:ffff::c8")
	set("set", "port", "inet_service", "", fmt.Sprint(r.port()), "9999")
	set("set", "ports", "inet_service", "interval", fmt.Sprintf("%d-1003", 50+r.IntN(940)), "8080")
	set("set", "macs", "ether_addr", "", "02:00:00:00:09:01", "02:00:00:00:09:40")
	set("set", "pair", "ipv4_addr . inet_service", "", fmt.Sprintf("203.0.113.1 . %d", r.port()), "203.0.113.7 . 443")
	set("set", "both", "ipv4_addr . inet_service", "interval", fmt.Sprintf("203.0.113.0/26 . %d-1001", pick(r, 0, 53, 1000)), "203.0.113.200 . 443")
	set("set", "both6", "ipv6_addr . inet_proto . inet_service", "interval", "2001:db8:ffff::/121 . tcp . 0-1000", "2001:db8:ffff::c8 . udp . 53")
	set("set", "all4", "ipv4_addr", "interval", "203.0.113.64/26", pick(r, "*", "192.0.2.9"))
	set("set", "kinds", "ether_type . inet_proto", "", "ip . tcp", "ip6 . udp")
	set("set", "short", "inet_service", "timeout", "22 timeout 1h", "53 timeout 2h", "443")
	set("set", "seen", "ipv4_addr", "dynamic", pick(r, "203.0.113.65", "203.0.113.2"))
	set("map", "verdict", "inet_service : verdict", "", fmt.Sprintf("%d : drop", r.port()), "9998 : accept", "9997 : return")
	set("map", "verdict4", "ipv4_addr : verdict", "interval", "203.0.113.0/30 : drop", "203.0.113.64-203.0.113.70 : accept", "192.0.2.0/24 : continue")
	set("map", "verdict2", "ipv4_addr . inet_service : verdict", pick(r, "", "interval"), "203.0.113.1 . 80 : drop", "203.0.113.7 . 22 : return")
	set("map", "leads", "inet_service : verdict", "", fmt.Sprintf("%d : TARGET", pick(r, 22, 80)), "443 : drop")
	set("map", "marks", "ipv4_addr : mark", "", "203.0.113.1 : 0x3", "192.0.2.9 : 7")
	return b.String()
}

// change is what happens to the elements of a named set while programs run: a command, or two that undo each other.
func (r *random) change() string {
	add := r.often(55)
	verb := "delete"
	if add {
		verb = "add"
	}
	elem := func(set, key, data string) string {
		if add {
			key += data
		}
		return fmt.Sprintf("%s element netdev t %s { %s }", verb, set, key)
	}
	addr := fmt.Sprintf("203.0.113.%d", pick(r, 1, 2, 7, 64, 65, 200))
	switch r.IntN(12) {
	case 0, 1:
		return elem("host4", addr, "")
	case 2:
		return elem("addr4", pick(r, "203.0.113.0/29", "203.0.113.64-203.0.113.70", "203.0.113.200", "198.51.100.0/28"), "")
	case 3:
		return elem("addr6", pick(r, "2001:db8:ffff::/126", "2001:db8:ffff::40/123", "2001:db8:2::/48"), "")
	case 4:
		return elem("host6", pick(r, "2001:db8:ffff::7", "2001:db8:ffff::1"), "")
	case 5:
		return elem(pick(r, "port", "short"), fmt.Sprint(r.port()), "")
	case 6:
		return elem("ports", pick(r, "8080", "1004-2000", "20-30", "443"), "")
	case 7:
		return elem("macs", pick(r, "02:00:00:00:09:01", "02:00:00:00:09:07", "02:00:00:00:09:40"), "")
	case 8:
		return elem("pair", fmt.Sprintf("%s . %d", addr, r.port()), "")
	case 9:
		return elem("both", pick(r, "203.0.113.200 . 443", "203.0.113.64/26 . 20-100", "203.0.113.65 . 53"), "")
	case 10:
		return elem("verdict", pick(r, "9998", fmt.Sprint(r.port())), " : "+pick(r, "accept", "drop", "return"))
	}
	return elem("verdict4", pick(r, "203.0.113.0/30", "203.0.113.200", "198.51.100.0/24"), " : "+pick(r, "accept", "drop", "return", "continue"))
}

// profile is what a rule is about, so that its matches do not contradict each other, which nft refuses.
type profile struct {
	l3 string // "ip", "ip6", "arp" or ""
	l4 string // "tcp", "udp", "sctp", "icmp", "icmpv6" or ""
}

func (r *random) profile() profile {
	p := profile{l3: pick(r, "", "ip", "ip", "ip6", "ip6", "arp")}
	if r.often(80) && p.l3 == "arp" {
		p.l3 = "ip"
	}
	if p.l3 == "arp" {
		return p
	}
	p.l4 = pick(r, "", "tcp", "tcp", "tcp", "udp", "udp", "sctp", "icmp")
	if p.l4 == "icmp" {
		switch {
		case p.l3 == "ip6" || p.l3 == "" && r.often(50):
			p.l4 = "icmpv6"
		default:
			p.l3 = "ip"
		}
		if p.l3 == "" {
			p.l3 = "ip6"
		}
	}
	return p
}

// rule is one line: matches, perhaps a counter or a change, a verdict.
func (r *random) rule() string {
	p := r.profile()
	var parts []string
	used := map[string]bool{}
	match := func() string {
		for {
			m := r.match(p)
			k := subject(m)
			if r.narrow && late(m) {
				continue
			}
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
	for range pick(r, 0, 1, 1, 1, 2, 2, 3) {
		parts = append(parts, match())
	}
	if r.often(50) {
		parts = append(parts, "counter")
		if r.often(8) {
			parts = append(parts, match())
		}
	}
	if !r.clean && r.often(10) {
		parts = append(parts, r.sideEffect(p))
	}
	if !r.narrow && r.often(4) {
		parts = append(parts, pick(r, `dup to "d1"`, `dup to "r1"`))
	}
	parts = append(parts, r.verdict(p, len(parts) == 0))
	if line := strings.TrimSpace(strings.Join(parts, " ")); line != "" {
		return line
	}
	return "counter"
}

// verdict is how a rule ends. A rule without matches seldom ends everything.
func (r *random) verdict(p profile, every bool) string {
	n := r.IntN(18)
	if every && n < 8 {
		n = 17
	}
	switch {
	case n < 6:
		return "drop"
	case n == 6:
		return "accept"
	case n == 7:
		return pick(r, "return", "accept", "continue")
	case n < 11:
		return "TARGET"
	case n == 11 && !every:
		return pick(r, `fwd to "r1"`, `fwd to "d1"`)
	case n == 15:
		return r.verdictMap(p)
	case n == 16 && p.l3 == "ip" && !every:
		return `fwd to ip saddr map { 203.0.113.1 : "r1", 203.0.113.2 : "d1" }`
	case n == 12 && p.l3 == "ip":
		return "ip saddr vmap " + pick(r, "@verdict4", "{ 203.0.113.1 : drop, 203.0.113.64/26 : TARGET, 203.0.113.2-203.0.113.9 : accept }")
	case n == 13 && p.l3 == "ip" && (p.l4 == "tcp" || p.l4 == "udp"):
		return "ip saddr . " + p.l4 + " dport vmap " + pick(r, "@verdict2", "{ 203.0.113.1 . 80 : drop, 203.0.113.0/26 . 22-443 : accept }")
	case n == 14 && p.l4 == "tcp":
		return "tcp dport vmap " + pick(r, "@verdict", "@verdict", "@leads", "{ 22 : TARGET, 1000-1003 : return, 9999 : drop }", "{ 80 : drop, 443 : accept }")
	}
	return ""
}

// verdictMap is a lookup of a verdict in a map of the rule's own.
func (r *random) verdictMap(p profile) string {
	all := []string{
		"ether saddr vmap { 02:00:00:00:09:01 : drop, 02:00:00:00:09:02 : TARGET, 02:00:00:00:09:40 : accept }",
		`iifname vmap { "r0" : TARGET, "p0" : drop }`,
		"meta l4proto vmap { tcp : TARGET, udp : drop, sctp : accept }",
	}
	switch p.l3 {
	case "ip":
		all = append(all, "ip protocol vmap { tcp : TARGET, udp : accept, igmp : drop }", "ip daddr vmap { 192.0.2.0/24 : drop, * : TARGET }",
			"ip saddr . ip daddr vmap { 203.0.113.1 . 192.0.2.9 : drop, 203.0.113.2 . 198.51.100.2 : TARGET }", "ip dscp vmap { cs1 : drop, ef : accept }")
	case "ip6":
		all = append(all, "ip6 saddr vmap { 2001:db8:ffff::/126 : drop, 2001:db8:ffff::40 : TARGET }", "ip6 nexthdr vmap { tcp : drop, udp : TARGET }")
	case "":
		all = append(all, "meta protocol vmap { ip : TARGET, ip6 : TARGET, arp : drop }", "vlan id vmap { 5 : drop, 10 : TARGET }", "ether type vmap { arp : drop, 0x88cc : accept }")
	}
	switch p.l4 {
	case "tcp", "udp", "sctp":
		all = append(all, p.l4+" sport vmap { 0-1023 : TARGET, 8080 : drop }", p.l4+" sport . "+p.l4+" dport vmap { 53 . 53 : accept, 1000-1005 . 22 : drop }")
	case "icmp":
		all = append(all, "icmp type vmap { echo-request : drop, echo-reply : TARGET }")
	case "icmpv6":
		all = append(all, "icmpv6 type vmap { echo-request : drop, nd-neighbor-solicit : accept }")
	}
	return pick(r, all...)
}

// sideEffect is a statement that no early program does.
func (r *random) sideEffect(p profile) string {
	all := []string{
		"meta mark set " + pick(r, "1", "0x10"), `log prefix "x" level debug`, "limit rate 1000000/second burst 100000 packets",
		"limit rate over 1000000/second burst 100000 packets", "meta priority set 1:2", "meta pkttype set other", `dup to "d1"`,
		"quota over 100 gbytes", "notrack",
	}
	if p.l3 == "ip" {
		all = append(all, "add @seen { ip saddr }", "delete @seen { ip saddr }", "meta mark set ip saddr map @marks", "ip ttl set 9", "ip dscp set cs1")
	}
	if p.l4 == "tcp" || p.l4 == "udp" {
		all = append(all, p.l4+" dport set 80")
	}
	return pick(r, all...)
}

// late reports whether a match reads what GRO may change before rules see it, so that it is not made at XDP.
func late(m string) bool {
	for _, word := range []string{
		"meta length", "pkttype", "dscp", "ecn", "ttl", "ip length", "ip6 length", "hoplimit", "flowlabel", "ip id", "frag-off", "checksum", "option", "window",
		"doff", "sequence", "ackseq", "urgptr", "tcp flags", "exthdr", "frag ", "rt ", "hbh", "mark", "priority", "cpu", "@",
	} {
		if strings.Contains(m, word) && !strings.Contains(m, " @") {
			return true
		}
	}
	return false
}

// subject is what a match is about. nft lists two comparisons of one field as a range, and loses conditions of the link
// header where there are several, or extension headers: rules have one of each.
func subject(m string) string {
	f := strings.Fields(m)
	switch {
	case f[0] == "ether" || f[0] == "vlan" || strings.HasPrefix(f[0], "@ll"), f[0] == "exthdr", f[0] == "frag", f[0] == "rt", f[0] == "hbh":
		return "link"
	case f[0] == "th", strings.HasPrefix(f[0], "@th"), strings.HasPrefix(f[0], "@ih"):
		return "th"
	case strings.HasPrefix(f[0], "@"):
		return "raw"
	}
	return f[0] + f[1]
}
