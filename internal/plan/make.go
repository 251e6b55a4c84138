package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/cond"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Make plans a ruleset for a machine.
func Make(rs *ruleset.Ruleset, m caps.Machine, o Options) *Plan {
	b := &builder{
		rs: rs, plan: &Plan{Chains: []*Chain{}, Flowtables: []*Flowtable{}, Devices: []*Device{}}, reader: space.NewReader(rs, o.SetsChange),
		able:   &abilities{machine: m, options: o, wildcards: wildcards(rs), seen: map[string]ability{}},
		placed: map[*ruleset.Rule][]Placement{}, policies: map[*ruleset.Chain][]Placement{},
	}
	if m.Kernel.Version.Known() {
		b.plan.Kernel = m.Kernel.Version.String()
	}
	b.joins, b.sets = cond.Joins(rs), cond.NewSets()
	b.handover = b.handsOver()
	b.devices()
	for _, g := range b.groups() {
		b.group(g)
	}
	b.chains()
	b.flowtables()
	return b.plan
}

type builder struct {
	rs     *ruleset.Ruleset
	plan   *Plan
	reader *space.Reader
	able   *abilities
	sets   *cond.Sets
	joins  bool

	handover []string // flowtables that rules add flows to
	placed   map[*ruleset.Rule][]Placement
	policies map[*ruleset.Chain][]Placement
}

// hooked is a base chain and its table, or a flowtable that flows are added to.
type hooked struct {
	table     *ruleset.Table
	chain     *ruleset.Chain
	flowtable *ruleset.Flowtable
}

func (h hooked) priority() int {
	if h.flowtable != nil {
		return h.flowtable.Priority
	}
	return h.chain.Base.Priority
}

// early reports whether the rules of a chain can come before the kernel has made a packet of the frame.
func early(t *ruleset.Table, c *ruleset.Chain) bool {
	return c.Base != nil && c.Base.Hook == "ingress" && (t.Family == ruleset.Netdev || t.Family == ruleset.Inet) && !t.Dormant()
}

// group is devices for which the same plan holds.
type group struct {
	devices []string
	chains  []hooked
}

// groups finds the devices of ingress chains, and puts those together that cannot be told apart.
func (b *builder) groups() []*group {
	chains := map[string][]hooked{}
	var names []string
	for _, t := range b.rs.Tables {
		for _, c := range t.Chains {
			if !early(t, c) {
				continue
			}
			for _, d := range c.Base.Devices {
				if _, ok := chains[d]; !ok {
					names = append(names, d)
				}
				chains[d] = append(chains[d], hooked{table: t, chain: c})
			}
		}
	}
	slices.Sort(names)
	var out []*group
	byKey := map[string]*group{}
	for _, d := range names {
		// Of one priority the flowtable counts as the first: which one it is depends on the order of loading.
		cs := slices.Concat(b.flowtablesOf(d), chains[d])
		slices.SortStableFunc(cs, func(a, c hooked) int { return cmp.Compare(a.priority(), c.priority()) })
		key := b.key(d, cs)
		g := byKey[key]
		if g == nil {
			g = &group{chains: cs}
			byKey[key] = g
			out = append(out, g)
		}
		g.devices = append(g.devices, d)
	}
	return out
}

// flowtablesOf are those on a device that flows are added to.
func (b *builder) flowtablesOf(device string) []hooked {
	var out []hooked
	for _, t := range b.rs.Tables {
		for _, f := range t.Flowtables {
			on := slices.ContainsFunc(f.Devices, func(name string) bool { return means(name, device) })
			if on && slices.Contains(b.handover, "@"+f.Name) && !t.Dormant() {
				out = append(out, hooked{table: t, flowtable: f})
			}
		}
	}
	return out
}

// key is the same for devices with the same plan.
func (b *builder) key(device string, cs []hooked) string {
	a := b.able.of(device)
	var s strings.Builder
	fmt.Fprintf(&s, "%s|%v|%v|%v|%v|%v|%s|%s|%s|%s", a.profile.Name, a.tier, a.xdp, a.tc, a.hardware, a.device.RxVLAN, cmp.Or(a.device.Kind, a.device.Driver), a.device.Switch.ID, a.device.Type, a.device.HWTCOffload)
	for _, c := range cs {
		fmt.Fprintf(&s, "|%p %p", c.chain, c.flowtable)
		if c.chain != nil && b.asksForDevice(c) {
			s.WriteString("|" + device)
		}
	}
	return s.String()
}

// asksForDevice reports whether some rule of the table looks at the device that a packet came in by.
func (b *builder) asksForDevice(h hooked) bool {
	for _, c := range h.table.Chains {
		for _, r := range c.Rules {
			if slices.ContainsFunc(r.Stmts, func(s ruleset.Stmt) bool { return readsDevice(s) }) {
				return true
			}
		}
	}
	return false
}

func readsDevice(s ruleset.Stmt) bool {
	of := func(e ruleset.Expr) bool {
		m, ok := e.(ruleset.Meta)
		return ok && (m.Key == "iif" || m.Key == "iifname")
	}
	var e ruleset.Expr
	switch s := s.(type) {
	case ruleset.Match:
		e = s.Left
	case ruleset.VMap:
		e = s.Key
	case ruleset.Fwd:
		if m, ok := s.Dev.(ruleset.Map); ok {
			e = m.Key
		}
	}
	if c, ok := e.(ruleset.Concat); ok {
		return slices.ContainsFunc(c, of)
	}
	return of(e)
}

// group plans the ingress chains of some devices.
func (b *builder) group(g *group) {
	on := b.able.of(g.devices[0])
	device := space.From(g.devices[0], on.device.Type == "ether")
	known := &arrival{device: g.devices[0], ethernet: on.device.Type == "ether", joins: b.joins, sets: b.sets}
	f := newFlattener(b.reader, look{known: known, hook: on.hook()})
	starts := map[*ruleset.Chain]space.Scan{}
	for _, h := range g.chains {
		if h.flowtable != nil {
			f.sentOn(h.flowtable)
			continue
		}
		starts[h.chain] = b.reader.Start(h.table).With(device)
		f.baseChain(h.table, h.chain, device)
	}
	unordered(f.entries)
	j := &judge{}
	l := &lowerer{on: on, all: b.able}
	for _, e := range f.entries {
		e.at, e.early = on.tier, b.atHook(e, on, j)
		e.filters, e.hardware = b.inHardware(e, l, starts[e.base], j)
		j.add(e)
	}
	for i := range slices.Backward(f.entries) {
		follow(f.entries, f.entries[i])
	}
	b.place(g, on, f.entries)
	b.plan.judged = append(b.plan.judged, &judged{devices: g.devices, on: on, entries: f.entries, sets: b.sets})
}

// atHook is why an entry is not executed at the device's hook.
func (b *builder) atHook(e *entry, on ability, j *judge) Finding {
	switch {
	case e.end.Empty():
		return Finding{Reason: reason.RuleNeverMatches}
	case on.tier == Software:
		return on.early()
	case !e.match.None():
		return e.match
	case on.hidesTags() && e.readsTag():
		return Finding{Reason: reason.MatchNotEarly, Detail: on.whereTags()}
	case !e.effect.pinned.None():
		return e.effect.pinned
	case e.effect.copy != "" || e.effect.ending == forwards:
		if f := first(b.copying(e.effect.copy, on), b.sending(e.effect, on)); !f.None() {
			return f
		}
	case e.effect.none() && !e.jumps:
		return Finding{Reason: reason.NoTerminalAction}
	}
	return first(e.disorder, j.soft(e))
}

// inHardware is the filters that an entry is in hardware, or why it is not there.
func (b *builder) inHardware(e *entry, l *lowerer, start space.Scan, j *judge) ([]numbered, Finding) {
	switch {
	case e.end.Empty():
		return nil, Finding{Reason: reason.RuleNeverMatches}
	case !l.on.hardware.None():
		return nil, l.on.hardware
	case !e.frame.None():
		return nil, e.frame
	case !e.effect.pinned.None():
		return nil, e.effect.pinned
	case e.effect.copy != "":
		return nil, Finding{Reason: reason.SideEffect, Detail: "dup"}
	case e.effect.ending == goesOn:
		return nil, Finding{Reason: reason.NoTerminalAction}
	case e.effect.ending == forwards:
		if f := b.egressChain(e.effect.device); !f.None() {
			return nil, f
		}
	}
	if !e.disorder.None() {
		return nil, e.disorder
	}
	fs, f := l.lower(e, start)
	if !f.None() {
		return nil, f
	}
	if f := j.hw(e); !f.None() {
		return nil, f
	}
	ns, ok := l.prefs.give(fs, e.end)
	if !ok {
		return nil, noPrefs()
	}
	return ns, Finding{}
}

// follow puts a jump where the rules are that it leads to: it has no effect of its own.
func follow(all []*entry, e *entry) {
	if !e.jumps || !e.effect.none() {
		return
	}
	lowest, highest := Hardware, Software // of the entries that it leads to
	var why, whyHardware Finding
	for _, in := range all[e.from:e.to] {
		lowest, highest = min(lowest, in.tier()), max(highest, in.tier())
		why, whyHardware = first(why, in.early), first(whyHardware, in.hardware)
	}
	switch {
	case e.from == e.to:
		e.early = Finding{Reason: reason.NoTerminalAction}
	case lowest == Hardware:
		e.hardware = Finding{}
	case highest == Software && e.early.None():
		e.early, e.hardware = why, whyHardware
	default:
		e.hardware = whyHardware
	}
}

// place writes down where each rule of a group is: where the slowest of its entries is.
func (b *builder) place(g *group, on ability, entries []*entry) {
	at := map[*ruleset.Rule]*entry{}
	var order []*ruleset.Rule
	filters := map[*ruleset.Rule]int{}
	for _, e := range entries {
		if e.flowtable != nil {
			continue
		}
		if e.rule == nil {
			b.policies[e.chain] = append(b.policies[e.chain], placement(g, e, on, len(e.filters)))
			continue
		}
		filters[e.rule] += len(e.filters)
		if have, ok := at[e.rule]; !ok {
			order = append(order, e.rule)
		} else if have.tier() <= e.tier() && !have.end.Empty() || e.end.Empty() {
			continue
		}
		at[e.rule] = e
	}
	for _, r := range order {
		b.placed[r] = append(b.placed[r], placement(g, at[r], on, filters[r]))
	}
}

func placement(g *group, e *entry, on ability, filters int) Placement {
	p := Placement{Devices: g.devices, Tier: e.tier()}
	if p.Tier > Software && e.effect.ending == accepts {
		p.Note = &Finding{Reason: reason.AcceptNotFinal}
	}
	switch p.Tier {
	case Hardware:
		p.Filters = filters
	case XDP:
		p.Finding = e.hardware
	case TC:
		p.Finding = on.xdp
		if h := e.hardware; !h.None() && !sameFinding(h, on.xdp) {
			p.Hardware = &h
		}
	case Software:
		p.Finding = e.early
		if h := e.hardware; !h.None() && !sameFinding(h, e.early) {
			p.Hardware = &h
		}
	}
	return p
}
