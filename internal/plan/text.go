package plan

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// columns is how wide the text of a plan is.
const columns = 80

// Text renders the plan for people.
func (p *Plan) Text() string {
	w := &writer{devices: map[string]*Device{}}
	for _, d := range p.Devices {
		w.devices[d.Name] = d
	}
	if p.Kernel != "" {
		w.line("kernel " + p.Kernel)
	}
	for _, d := range p.Devices {
		w.device(d)
	}
	w.chains(p.Chains)
	for _, f := range p.Flowtables {
		w.flowtable(f)
	}
	w.line("")
	w.line(p.Summary())
	return strings.TrimLeft(w.b.String(), "\n")
}

// Summary counts the rules of each tier.
func (p *Plan) Summary() string {
	n := map[Tier]int{}
	for _, c := range p.Chains {
		for _, r := range c.Rules {
			n[r.Tier()]++
		}
	}
	all, noun := n[Hardware]+n[XDP]+n[TC]+n[Software], "rules"
	if all == 1 {
		noun = "rule"
	}
	return fmt.Sprintf("%d %s: %d hardware, %d xdp, %d tc, %d software", all, noun, n[Hardware], n[XDP], n[TC], n[Software])
}

// Tier is the slowest that the rule is at on any device.
func (r *Rule) Tier() Tier {
	t := Hardware
	for _, p := range r.At {
		t = min(t, p.Tier)
	}
	return t
}

// String names the rule as nft(8) does: "netdev filter ingress handle 12".
func (r Ref) String() string {
	if r.Flowtable != "" {
		return fmt.Sprintf("%s %s flowtable %s", r.Family, r.Table, r.Flowtable)
	}
	return fmt.Sprintf("%s %s %s %s", r.Family, r.Table, r.Chain, r.place())
}

// place is where the rule is in its chain.
func (r Ref) place() string {
	switch {
	case r.Handle != 0:
		return fmt.Sprintf("handle %d", r.Handle)
	case r.Number != 0:
		return fmt.Sprintf("rule %d", r.Number)
	}
	return "policy"
}

// Sentence is the finding for people, with the code in front.
func (f Finding) Sentence() string {
	i := f.Reason.Info()
	s := "[" + i.Code + "] " + i.Text
	var more []string
	if f.Rule != nil {
		more = append(more, f.Rule.String())
	}
	if f.Detail != "" {
		more = append(more, f.Detail)
	}
	if len(more) > 0 {
		s += " (" + strings.Join(more, ", ") + ")"
	}
	return s
}

// short is the finding where there is no room for its sentence.
func (f Finding) short() string {
	if f.Detail == "" {
		return "[" + f.Reason.Code() + "]"
	}
	return "[" + f.Reason.Code() + "] " + f.Detail
}

// writer collects lines of text.
type writer struct {
	b       strings.Builder
	devices map[string]*Device // whose reasons were said
}

func (w *writer) line(s string) { w.b.WriteString(strings.TrimRight(s, " ") + "\n") }

// wrap writes text behind a prefix, and further lines below it. Words are never cut.
func (w *writer) wrap(prefix, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(prefix))
	line, empty := prefix, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
			w.line(line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	w.line(line)
}

func (w *writer) device(d *Device) {
	head := "device " + d.Name
	if d.Profile != "" {
		head += ", profile " + d.Profile
	}
	w.line(head)
	if !d.XDP.None() {
		w.wrap("  no xdp       ", d.XDP.Sentence())
	}
	if !d.TC.None() && !sameFinding(d.TC, d.XDP) {
		w.wrap("  no tc        ", d.TC.Sentence())
	}
	if !d.Hardware.None() && !sameFinding(d.Hardware, d.XDP) {
		w.wrap("  no hardware  ", d.Hardware.Sentence())
	}
}

// chains writes each chain, and those of which one sentence says all at the place of the first.
func (w *writer) chains(all []*Chain) {
	alike := map[string][]*Chain{}
	for _, c := range all {
		if c.Finding != nil && len(c.Kernel) == 0 {
			key := c.Finding.Sentence()
			alike[key] = append(alike[key], c)
		}
	}
	for _, c := range all {
		group := []*Chain{c}
		if c.Finding != nil && len(c.Kernel) == 0 {
			group = alike[c.Finding.Sentence()]
		}
		switch {
		case len(group) == 1:
			w.chain(c)
		case group[0] == c:
			w.group(group)
		}
	}
}

// group writes chains of which the same is to be said. Of very many, the first are named.
func (w *writer) group(cs []*Chain) {
	const most = 12
	var names strings.Builder
	rules := 0
	for i, c := range cs {
		rules += len(c.Rules)
		switch {
		case i >= most:
			continue
		case i == 0:
			fmt.Fprintf(&names, "%s %s: ", c.Family, c.Table)
		case c.Table != cs[i-1].Table || c.Family != cs[i-1].Family:
			fmt.Fprintf(&names, "; %s %s: ", c.Family, c.Table)
		default:
			names.WriteString(", ")
		}
		names.WriteString(c.Name)
	}
	if len(cs) > most {
		fmt.Fprintf(&names, " and %d more", len(cs)-most)
	}
	w.line("")
	w.wrap("", fmt.Sprintf("%d chains of %s", len(cs), names.String()))
	w.wrap("  software  ", fmt.Sprintf("%s: %s", allRules(rules), cs[0].Finding.Sentence()))
}

func (w *writer) chain(c *Chain) {
	w.line("")
	head := fmt.Sprintf("chain %s %s %s", c.Family, c.Table, c.Name)
	if c.Hook != "" {
		head += fmt.Sprintf(": %s %s, priority %d", c.Type, c.Hook, c.Priority)
	}
	if c.Policy != "" {
		head += ", policy " + c.Policy
	}
	if len(c.Devices) > 0 {
		head += ", devices " + strings.Join(c.Devices, " ")
	}
	w.wrap("", head)
	for _, f := range c.Kernel {
		w.wrap("  ", "`flags offload` would refuse the chain: "+f.short())
	}
	if c.Finding != nil {
		w.wrap("  software  ", fmt.Sprintf("%s: %s", allRules(len(c.Rules)), c.Finding.Sentence()))
		return
	}
	for _, r := range c.Rules {
		w.rule(r)
	}
	if len(c.PolicyAt) > 0 {
		w.placements("policy drop", c.PolicyAt)
	}
}

func (w *writer) rule(r *Rule) {
	w.placements(fmt.Sprintf("%s: %s", Ref{Handle: r.Handle, Number: r.Number}.place(), r.Text), r.At)
	switch {
	case r.Kernel == nil:
	case r.Kernel.Reason == reason.NoHardwareCounter:
		w.wrap(detail, "`flags offload` would not count: "+r.Kernel.short())
	default:
		w.wrap(detail, "`flags offload` would refuse: "+r.Kernel.short())
	}
}

// detail is the indent of what is said about a rule.
const detail = "              "

func (w *writer) placements(what string, at []Placement) {
	if len(at) == 1 {
		w.wrap(fmt.Sprintf("  %-9s ", at[0].Tier), what)
		w.placement(detail, at[0])
		return
	}
	word := at[0].Tier.String()
	if slices.ContainsFunc(at, func(p Placement) bool { return p.Tier != at[0].Tier }) {
		word = "differs"
	}
	w.wrap(fmt.Sprintf("  %-9s ", word), what)
	for _, d := range w.differences(at) {
		w.wrap(detail, fmt.Sprintf("%s on %s", d.tier, strings.Join(d.devices, " ")))
		w.b.WriteString(d.text)
	}
}

// difference is what is said of some devices.
type difference struct {
	tier    Tier
	text    string
	devices []string
}

// differences joins the devices of which the same is said, at the place of the first.
func (w *writer) differences(at []Placement) []difference {
	var out []difference
	for _, p := range at {
		one := &writer{devices: w.devices}
		one.placement(detail+"  ", p)
		text := one.b.String()
		i := slices.IndexFunc(out, func(d difference) bool { return d.tier == p.Tier && d.text == text })
		if i < 0 {
			out = append(out, difference{p.Tier, text, slices.Clone(p.Devices)})
			continue
		}
		out[i].devices = append(out[i].devices, p.Devices...)
	}
	return out
}

func (w *writer) placement(indent string, p Placement) {
	if p.Note != nil {
		w.wrap(indent, "leaves the packet to the kernel "+p.Note.short())
	}
	switch p.Tier {
	case Hardware:
		if p.Filters > 1 {
			w.wrap(indent, fmt.Sprintf("%d filters", p.Filters))
		}
	case XDP:
		if !w.said(p, p.Finding) {
			w.wrap(indent, "not hardware: "+p.Finding.Sentence())
		}
	case TC:
		if p.Hardware != nil && !w.said(p, *p.Hardware) {
			w.wrap(indent, "not hardware: "+p.Hardware.Sentence())
		}
	case Software:
		w.software(indent, p)
	}
}

func (w *writer) software(indent string, p Placement) {
	xdp, hardware := w.said(p, p.Finding), p.Hardware == nil || w.said(p, *p.Hardware)
	if xdp && hardware {
		w.wrap(indent, "for what was said of the device")
		return
	}
	if !xdp {
		w.wrap(indent, p.Finding.Sentence())
	}
	if !hardware {
		w.wrap(indent, "not hardware: "+p.Hardware.Sentence())
	}
}

// said reports whether a finding is one of the devices as such, which the text begins with.
func (w *writer) said(p Placement, f Finding) bool {
	if len(p.Devices) == 0 {
		return false
	}
	return !slices.ContainsFunc(p.Devices, func(name string) bool {
		d := w.devices[name]
		return d == nil || !sameFinding(f, d.XDP) && !sameFinding(f, d.Hardware)
	})
}

func (w *writer) flowtable(f *Flowtable) {
	w.line("")
	head := fmt.Sprintf("flowtable %s %s %s", f.Family, f.Table, f.Name)
	if len(f.Flags) > 0 {
		head += ", flags " + strings.Join(f.Flags, " ")
	}
	w.wrap("", head)
	for _, d := range f.Devices {
		w.flowDevice(d)
	}
	for _, x := range f.Findings {
		w.wrap("  ", x.Sentence())
	}
	for _, a := range f.Adds {
		w.flowAdd(a)
	}
}

func (w *writer) flowDevice(d FlowDevice) {
	prefix := "  device " + d.Name + ": "
	switch {
	case len(d.Lowest) > 0:
		w.wrap(prefix, "its frames arrive by "+strings.Join(d.Lowest, " "))
		return
	case d.Hook == "":
		w.wrap(prefix, "no fast path: "+d.XDP.Sentence())
	case d.Hook == "xdp":
		w.wrap(prefix, "xdp")
	default:
		w.wrap(prefix, d.Hook+": "+d.XDP.Sentence())
	}
	if d.Offload.None() {
		w.wrap(strings.Repeat(" ", len(prefix)), "takes `flags offload`")
		return
	}
	w.wrap(strings.Repeat(" ", len(prefix)), "takes no `flags offload`: "+d.Offload.short())
}

func (w *writer) flowAdd(a FlowAdd) {
	w.wrap("  ", fmt.Sprintf("%s: %s", a.Rule, a.Text))
	if len(a.Covers) > 0 {
		w.wrap("    takes flows of: ", strings.Join(slices.Compact(a.Covers), "; "))
	}
	if !a.Finding.None() {
		w.wrap("    takes none: ", a.Finding.Sentence())
		return
	}
	for i, e := range a.Before {
		prefix := "    but not what comes first to: "
		if i > 0 {
			prefix = strings.Repeat(" ", len(prefix))
		}
		w.wrap(prefix, fmt.Sprintf("%s: %s", e.Rule.place(), e.Text))
	}
}

func allRules(n int) string {
	switch n {
	case 0:
		return "no rules"
	case 1:
		return "1 rule"
	}
	return fmt.Sprintf("all %d rules", n)
}
