package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// chains writes down every chain of the ruleset, in its order.
func (b *builder) chains() {
	for _, t := range b.rs.Tables {
		hooks := reachedFrom(t)
		for _, c := range t.Chains {
			b.plan.Chains = append(b.plan.Chains, b.chain(t, c, hooks[c.Name]))
		}
	}
}

func (b *builder) chain(t *ruleset.Table, c *ruleset.Chain, from []*ruleset.Chain) *Chain {
	out := &Chain{Family: t.Family, Table: t.Name, Name: c.Name, Rules: []*Rule{}}
	if c.Base != nil {
		out.Hook, out.Type, out.Priority, out.Policy, out.Devices = c.Base.Hook, c.Base.Type, c.Base.Priority, c.Base.Policy, c.Base.Devices
	}
	isEarly := func(base *ruleset.Chain) bool { return early(t, base) }
	mayBeEarly := slices.ContainsFunc(from, isEarly)
	why := Finding{Reason: reason.RuleNotReached}
	if !slices.ContainsFunc(from, func(base *ruleset.Chain) bool { return isEarly(base) && len(base.Base.Devices) > 0 }) {
		why = b.whyLate(t, from)
		out.Finding = &why
	} else if devices := b.slowDevices(from); len(devices) > 0 {
		out.Finding = &Finding{Reason: reason.NoDeviceEarly, Detail: strings.Join(devices, ", ")}
	}
	kernelKnows := early(t, c)
	switch {
	case kernelKnows:
		out.Kernel = b.kernelChain(t, c)
	case mayBeEarly:
		out.Kernel = []Finding{{Reason: reason.ChainNotBase}}
	case t.Family == ruleset.Netdev && c.Base != nil && c.Base.Hook != "ingress":
		out.Kernel = []Finding{{Reason: reason.ChainNotIngress, Detail: c.Base.Hook}}
	}
	for _, r := range c.Rules {
		pr := &Rule{Handle: r.Handle, Number: r.Index + 1, Text: text(r), At: merge(b.placed[r])}
		if len(pr.At) == 0 {
			pr.At = []Placement{{Tier: Software, Finding: why}}
		}
		if kernelKnows {
			if f := b.kernelRule(r); !f.None() {
				pr.Kernel = &f
			}
		}
		out.Rules = append(out.Rules, pr)
	}
	if out.Policy == string(ruleset.Drop) {
		out.PolicyAt = merge(b.policies[c])
	}
	return out
}

// slowDevices are the devices of base chains, when none of them executes rules early.
func (b *builder) slowDevices(bases []*ruleset.Chain) []string {
	var names []string
	for _, base := range bases {
		for _, d := range base.Base.Devices {
			a := b.able.of(d)
			if a.tier != Software || a.hardware.None() {
				return nil
			}
			names = append(names, d)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// whyLate is why no rule of a chain comes before the kernel has made a packet.
func (b *builder) whyLate(t *ruleset.Table, from []*ruleset.Chain) Finding {
	switch {
	case t.Dormant():
		return Finding{Reason: reason.TableDormant}
	case len(from) == 0:
		return Finding{Reason: reason.ChainNotHooked}
	case slices.ContainsFunc(from, func(base *ruleset.Chain) bool { return early(t, base) }):
		return Finding{Reason: reason.ChainNoDevice, Detail: "nft 1.0.6 leaves the devices of netdev chains out of its JSON, and not out of what `nft list ruleset` prints: plan that"}
	case t.Family == ruleset.Bridge || t.Family == ruleset.ARP:
		return Finding{Reason: reason.FamilyNotNetdev, Detail: "family " + string(t.Family)}
	}
	var hooks []string
	for _, base := range from {
		if !slices.Contains(hooks, base.Base.Hook) {
			hooks = append(hooks, base.Base.Hook)
		}
	}
	f := Finding{Reason: reason.HookNotEarly, Detail: "hook " + strings.Join(hooks, ", ")}
	if fts := b.handover; len(fts) > 0 && slices.ContainsFunc(hooks, bypassed) {
		f.Detail += fmt.Sprintf("; flows that `flow add` gave to %s do not come here again", strings.Join(fts, ", "))
	}
	return f
}

// bypassed are the hooks that packets of a flowtable do not pass.
func bypassed(hook string) bool {
	return hook == "prerouting" || hook == "forward" || hook == "postrouting"
}

// handsOver names the flowtables that rules add flows to.
func (b *builder) handsOver() []string {
	var out []string
	for _, t := range b.rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if f, ok := flowAdd(r); ok && !slices.Contains(out, "@"+f.Flowtable) {
					out = append(out, "@"+f.Flowtable)
				}
			}
		}
	}
	return out
}

func flowAdd(r *ruleset.Rule) (ruleset.FlowAdd, bool) {
	for _, s := range r.Stmts {
		if f, ok := s.(ruleset.FlowAdd); ok {
			return f, true
		}
	}
	return ruleset.FlowAdd{}, false
}

// reachedFrom finds the base chains from which packets come to each chain of a table.
func reachedFrom(t *ruleset.Table) map[string][]*ruleset.Chain {
	out := map[string][]*ruleset.Chain{}
	for _, base := range t.Chains {
		if base.Base == nil {
			continue
		}
		seen := map[string]bool{base.Name: true}
		for queue := []string{base.Name}; len(queue) > 0; queue = queue[1:] {
			out[queue[0]] = append(out[queue[0]], base)
			c := t.Chain(queue[0])
			if c == nil {
				continue
			}
			for _, target := range targets(t, c) {
				if !seen[target] {
					seen[target] = true
					queue = append(queue, target)
				}
			}
		}
	}
	return out
}

// targets are the chains that rules of a chain jump to.
func targets(t *ruleset.Table, c *ruleset.Chain) []string {
	var out []string
	add := func(v ruleset.Verdict) {
		if v.Target != "" {
			out = append(out, v.Target)
		}
	}
	for _, r := range c.Rules {
		for _, s := range r.Stmts {
			switch s := s.(type) {
			case ruleset.Verdict:
				add(s)
			case ruleset.VMap:
				for _, v := range verdicts(t, s.Data) {
					add(v)
				}
			}
		}
	}
	return out
}

// verdicts are those in the data of a verdict map.
func verdicts(t *ruleset.Table, data ruleset.Expr) []ruleset.Verdict {
	var elems []ruleset.Expr
	switch data := data.(type) {
	case ruleset.SetLit:
		elems = data
	case ruleset.SetRef:
		if s := t.Set(string(data)); s != nil {
			elems = s.Elems
		}
	}
	var out []ruleset.Verdict
	for _, e := range elems {
		if outer, ok := e.(ruleset.Elem); ok {
			e = outer.Val
		}
		if p, ok := e.(ruleset.Pair); ok {
			if v, ok := p.Data.(ruleset.Verdict); ok && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// merge joins placements that say the same of different devices.
func merge(ps []Placement) []Placement {
	var out []Placement
	for _, p := range ps {
		i := slices.IndexFunc(out, func(q Placement) bool { return same(p, q) })
		if i < 0 {
			p.Devices = slices.Clone(p.Devices)
			out = append(out, p)
			continue
		}
		out[i].Devices = append(out[i].Devices, p.Devices...)
	}
	for i := range out {
		slices.Sort(out[i].Devices)
	}
	return out
}

func same(p, q Placement) bool {
	if (p.Hardware == nil) != (q.Hardware == nil) || p.Hardware != nil && !sameFinding(*p.Hardware, *q.Hardware) {
		return false
	}
	return p.Tier == q.Tier && p.Filters == q.Filters && sameFinding(p.Finding, q.Finding)
}

func sameFinding(f, g Finding) bool {
	if (f.Rule == nil) != (g.Rule == nil) || f.Rule != nil && *f.Rule != *g.Rule {
		return false
	}
	return f.Reason == g.Reason && f.Detail == g.Detail
}

// devices writes down the devices that the ruleset names, by name.
func (b *builder) devices() {
	for _, n := range DevicesOf(b.rs) {
		a := b.able.of(n)
		d := &Device{Name: n, Profile: a.profile.Name, XDP: a.xdp, Hardware: a.hardware}
		switch a.tier {
		case XDP, TC:
			d.Hook = a.tier.String()
		case Software:
			d.TC = a.tc
		case Hardware:
		}
		b.plan.Devices = append(b.plan.Devices, d)
	}
}

// DevicesOf names the devices of the flowtables and ingress chains of a ruleset, and those that its rules send packets
// out of, in the order of their names.
func DevicesOf(rs *ruleset.Ruleset) []string {
	var names []string
	for _, t := range rs.Tables {
		for _, f := range t.Flowtables {
			names = append(names, f.Devices...)
		}
		for _, c := range t.Chains {
			if early(t, c) {
				names = append(names, c.Base.Devices...)
			}
			for _, r := range c.Rules {
				names = append(names, sendsTo(t, r)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func sendsTo(t *ruleset.Table, r *ruleset.Rule) []string {
	var out []string
	for _, s := range r.Stmts {
		switch s := s.(type) {
		case ruleset.Dup:
			if t.Family == ruleset.Netdev { // else to an address
				out = append(out, step(s).copy)
			}
		case ruleset.Fwd:
			switch dev := s.Dev.(type) {
			case ruleset.Str:
				out = append(out, string(dev))
			case ruleset.Map:
				out = append(out, devicesIn(t, dev.Data)...)
			}
		}
	}
	return slices.DeleteFunc(out, func(name string) bool { return name == "" })
}

// devicesIn are the devices of a map.
func devicesIn(t *ruleset.Table, data ruleset.Expr) []string {
	elems, _ := data.(ruleset.SetLit)
	if name, ok := data.(ruleset.SetRef); ok {
		if set := t.Set(string(name)); set != nil {
			elems = set.Elems
		}
	}
	var out []string
	for _, e := range elems {
		if p, ok := e.(ruleset.Pair); ok {
			if dev, ok := p.Data.(ruleset.Str); ok {
				out = append(out, string(dev))
			}
		}
	}
	return out
}
