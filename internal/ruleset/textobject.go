package ruleset

import (
	"fmt"
	"strconv"
	"strings"
)

// String prints the ruleset as `nft list ruleset` does. Objects of unknown kinds are comments.
func (r *Ruleset) String() string {
	var b strings.Builder
	for _, t := range r.Tables {
		b.WriteString(t.String())
	}
	for _, raw := range r.Opaque {
		b.WriteString("# " + Opaque{raw}.String() + "\n")
	}
	return b.String()
}

// String prints the table with everything in it.
func (t *Table) String() string {
	p := &printer{table: t}
	p.put("table ", string(t.Family), " ", t.Name, " {\n")
	gap := ""
	if t.Comment != "" || len(t.Flags) > 0 {
		gap = "\n"
	}
	p.comment("\t", t.Comment)
	p.flags("\tflags ", t.Flags)
	if len(t.Flags) > 0 {
		p.put("\n")
	}
	part := func(f func()) {
		p.put(gap)
		gap = "\n"
		f()
	}
	for _, o := range t.Objects {
		part(func() { p.object(o) })
	}
	for _, s := range t.Sets {
		part(func() { p.set(s) })
	}
	for _, f := range t.Flowtables {
		part(func() { p.flowtable(f) })
	}
	for _, c := range t.Chains {
		part(func() { p.chain(c) })
	}
	p.put("}\n")
	return p.String()
}

func (p *printer) comment(indent, s string) {
	if s != "" {
		p.put(indent, "comment ", quote(s), "\n")
	}
}

// String prints the chain with its rules.
func (c *Chain) String() string { return text(func(p *printer) { p.chain(c) }) }

func (p *printer) chain(c *Chain) {
	p.put("\tchain ", c.Name, " {\n")
	p.comment("\t\t", c.Comment)
	if c.Base != nil {
		p.put("\t\t", c.Base.text(c.Family), "\n")
	}
	for _, r := range c.Rules {
		p.put("\t\t")
		p.rule(r)
		p.put("\n")
	}
	p.put("\t}\n")
}

// text prints the head of a base chain.
func (b *Base) text(f Family) string {
	var s strings.Builder
	fmt.Fprintf(&s, "type %s hook %s ", b.Type, b.Hook)
	switch {
	case len(b.Devices) == 1:
		s.WriteString("device " + quote(b.Devices[0]) + " ")
	case len(b.Devices) > 1:
		s.WriteString("devices = { " + quoteAll(b.Devices) + " } ")
	}
	s.WriteString("priority " + PriorityName(f, b.Hook, b.Priority) + ";")
	if len(b.Flags) > 0 {
		s.WriteString(" flags " + strings.Join(b.Flags, ",") + ";")
	}
	if b.Policy != "" {
		s.WriteString(" policy " + b.Policy + ";")
	}
	return s.String()
}

func quoteAll(names []string) string {
	var q []string
	for _, n := range names {
		q = append(q, quote(n))
	}
	return strings.Join(q, ", ")
}

// PriorityName prints a chain's priority as nft does: relative to one that has a name (nft(8), CHAINS).
func PriorityName(f Family, hook string, n int) string {
	const near = 10 // as far as nft goes from a name
	for _, std := range priorities(f, hook) {
		switch d := n - std.n; {
		case d == 0:
			return std.name
		case d > 0 && d <= near:
			return fmt.Sprintf("%s + %d", std.name, d)
		case d < 0 && d >= -near:
			return fmt.Sprintf("%s - %d", std.name, -d)
		}
	}
	return strconv.Itoa(n)
}

type priority struct {
	name string
	n    int
}

// priorities are the names that a hook knows.
func priorities(f Family, hook string) []priority {
	var list []priority
	switch f {
	case ARP, Netdev:
		return []priority{{"filter", 0}}
	case Bridge:
		list = []priority{{"filter", -200}}
		switch hook {
		case "prerouting":
			list = append(list, priority{"dstnat", -300})
		case "output":
			list = append(list, priority{"out", 100})
		case "postrouting":
			list = append(list, priority{"srcnat", 300})
		}
		return list
	case IP, IP6, Inet:
	}
	list = []priority{{"raw", -300}, {"mangle", -150}, {"filter", 0}, {"security", 50}}
	switch hook {
	case "prerouting":
		list = append(list, priority{"dstnat", -100})
	case "postrouting":
		list = append(list, priority{"srcnat", 100})
	case "ingress", "egress":
		list = []priority{{"filter", 0}}
	}
	return list
}

// String prints the rule on one line, with its comment.
func (r *Rule) String() string { return text(func(p *printer) { p.rule(r) }) }

func (p *printer) rule(r *Rule) {
	for i, s := range r.Stmts {
		if i > 0 {
			p.put(" ")
		}
		p.stmt(s)
	}
	if r.Comment != "" {
		p.put(" comment ", quote(r.Comment))
	}
}

// String prints the flowtable.
func (f *Flowtable) String() string { return text(func(p *printer) { p.flowtable(f) }) }

func (p *printer) flowtable(f *Flowtable) {
	p.put("\tflowtable ", f.Name, " {\n")
	if f.Hook != "" {
		p.put("\t\thook ", f.Hook, " priority ", PriorityName(Netdev, f.Hook, f.Priority), "\n")
	}
	if len(f.Devices) > 0 {
		p.put("\t\tdevices = { ", quoteAll(f.Devices), " }\n")
	}
	for _, flag := range f.Flags {
		if flag == "counter" {
			p.put("\t\tcounter\n")
			continue
		}
		p.put("\t\tflags ", flag, "\n")
	}
	p.put("\t}\n")
}

// String prints the object.
func (o *Object) String() string { return text(func(p *printer) { p.object(o) }) }

func (p *printer) object(o *Object) {
	p.put("\t", o.Kind, " ", o.Name, " {\n")
	p.comment("\t\t", o.Comment)
	line := func(format string, args ...any) { fmt.Fprintf(p, "\t\t"+format+"\n", args...) }
	n := func(k string) uint64 { v, _ := o.Fields.Uint(k); return v }
	s := func(k string) string { v, _ := o.Fields.Str(k); return v }
	switch o.Kind {
	case "counter":
		line("packets %d bytes %d", n("packets"), n("bytes"))
	case "quota":
		line("%s%d bytes used %d bytes", over(o.Fields.Bool("inv")), n("bytes"), n("used"))
	case "limit":
		p.put("\t\trate ", over(o.Fields.Bool("inv")))
		p.rate(Limit{Rate: n("rate"), RateUnit: s("rate_unit"), Per: s("per"), Burst: n("burst"), BurstUnit: s("burst_unit")})
		p.put("\n")
	case "ct helper":
		line("type %s protocol %s", quote(s("type")), s("protocol"))
		line("l3proto %s", s("l3proto"))
	case "ct timeout":
		line("protocol %s", s("protocol"))
		line("l3proto %s", s("l3proto"))
		p.timeouts(o.Fields)
	case "ct expectation":
		line("protocol %s", s("protocol"))
		line("dport %d", n("dport"))
		line("timeout %s", duration(n("timeout")/1000))
		line("size %d", n("size"))
		line("l3proto %s", s("l3proto"))
	case "secmark":
		line("%s", quote(s("context")))
	case "synproxy":
		p.synproxy("\n\t\t", o.Fields)
		p.put("\n")
	case "tunnel":
		p.tunnel(o.Fields)
	}
	p.put("\t}\n")
}

// tunnel prints the members of a tunnel object (nft 1.1.4). What it is made of by kind stays JSON, in a comment.
func (p *printer) tunnel(x Extra) {
	for _, m := range []struct{ json, text string }{
		{"id", "id"},
		{"src-ipv4", "ip saddr"},
		{"dst-ipv4", "ip daddr"},
		{"src-ipv6", "ip6 saddr"},
		{"dst-ipv6", "ip6 daddr"},
		{"sport", "sport"},
		{"dport", "dport"},
		{"tos", "tos"},
		{"ttl", "ttl"},
	} {
		if e := x.Expr(m.json); e != nil {
			fmt.Fprintf(p, "\t\t%s %s\n", m.text, exprText(e))
		}
	}
	if kind, ok := x.Str("type"); ok {
		fmt.Fprintf(p, "\t\t# %s %s\n", kind, Opaque{x["tunnel"]})
	}
}

// timeouts prints the states of a ct timeout object.
func (p *printer) timeouts(x Extra) {
	d, err := parseJSON(string(x["policy"]))
	if err != nil || !(value{d, 0}).is(kindObject) {
		return
	}
	var states []string
	for k, v := range (value{d, 0}).members() {
		states = append(states, k+" : "+v.text())
	}
	if len(states) > 0 {
		p.put("\t\tpolicy = { ", strings.Join(states, ", "), " }\n")
	}
}
