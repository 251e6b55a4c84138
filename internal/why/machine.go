package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Machine is what is the same for all flows.
type Machine struct {
	Flowtables []engine.Flowtable
	Adds       []Add // rules with the kernel's own `flow add`
	Decisions  []engine.Decision
	Links      []engine.Link
	Daemon     bool // answers
	// Pinned says that a datapath is there, with a daemon or without.
	Pinned     bool
	MinPackets uint32        // of a direction before an entry is made; 0: not known
	Period     time.Duration // between the two looks
	Kernel     caps.Version
	// Accounting says that conntrack counts packets.
	Accounting bool
	// Unseen is what could not be looked at, and why: "the daemon: permission denied".
	Unseen []string
	// Rules is the whole ruleset; nil: it could not be read.
	Rules *ruleset.Ruleset
}

// Add is a rule with `flow add`.
type Add struct {
	Family, Table, Chain string
	Handle               int
	Flowtable            string
}

// hands reports whether any rule hands flows over.
func (m Machine) hands() bool {
	return len(m.Adds) > 0 || slices.ContainsFunc(m.Flowtables, func(f engine.Flowtable) bool {
		return f.Lowered && (len(f.Labels) > 0 || f.Mark != 0)
	})
}

// taken says by what a connection was handed over: "label 127 of inet filter f1".
func (m Machine) taken(c Connection) (string, bool) {
	if c.Bits.Offload {
		return "the status bit offload, which the kernel's `flow add` sets", true
	}
	for _, f := range m.Flowtables {
		if f.Mark != 0 && c.Mark&f.Mark != 0 {
			return fmt.Sprintf("mark bit %#x of flowtable %s", f.Mark, flowtable(f)), true
		}
		for _, n := range f.Labels {
			if c.Labels.Has(n) {
				return fmt.Sprintf("label %d of flowtable %s", n, flowtable(f)), true
			}
		}
	}
	return "", false
}

// lacks says what a connection would have if it had been handed over.
func (m Machine) lacks() string {
	var parts []string
	for _, f := range m.Flowtables {
		switch {
		case f.Mark != 0:
			parts = append(parts, fmt.Sprintf("mark bit %#x of flowtable %s", f.Mark, flowtable(f)))
		case len(f.Labels) > 0:
			parts = append(parts, fmt.Sprintf("label %s of flowtable %s", numbers(f.Labels), flowtable(f)))
		}
	}
	if len(m.Adds) > 0 {
		parts = append(parts, "the status bit offload")
	}
	return strings.Join(parts, " and ")
}

func numbers(ns []int) string {
	var out []string
	for _, n := range ns {
		out = append(out, fmt.Sprint(n))
	}
	return strings.Join(out, " or ")
}

func flowtable(f engine.Flowtable) string {
	return strings.Join([]string{f.Family, f.Table, f.Name}, " ")
}

// link returns a device by its name, or nil.
func (m Machine) link(name string) *engine.Link {
	for i := range m.Links {
		if m.Links[i].Name == name {
			return &m.Links[i]
		}
	}
	return nil
}

// below are the devices directly below one that only passes packets on: a VLAN, a bridge, a VRF.
func (m Machine) below(l *engine.Link) []*engine.Link {
	if l.Kind != "vlan" && l.Kind != "bridge" && l.Kind != "vrf" {
		return nil
	}
	var out []*engine.Link
	for i := range m.Links {
		o := &m.Links[i]
		if o.Name != l.Name && (o.Name == l.Lower || o.Master == l.Name) {
			out = append(out, o)
		}
	}
	return out
}

// under are the devices below one that its packets pass, itself first.
func (m Machine) under(name string) []*engine.Link {
	l := m.link(name)
	if l == nil {
		return nil
	}
	out := []*engine.Link{l}
	for i := 0; i < len(out); i++ {
		for _, b := range m.below(out[i]) {
			if !slices.Contains(out, b) {
				out = append(out, b)
			}
		}
	}
	return out
}

// lowest are the devices that a flowtable should list for packets of one: those where frames come in.
func (m Machine) lowest(name string) []string {
	var out []string
	for _, l := range m.under(name) {
		if len(m.below(l)) == 0 {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// decisions are those about a device: its own, or those about devices below it, where its packets are looked up.
func (m Machine) decisions(name string) []engine.Decision {
	if i := slices.IndexFunc(m.Decisions, func(d engine.Decision) bool { return d.Name == name }); i >= 0 {
		return m.Decisions[i : i+1]
	}
	var out []engine.Decision
	for _, l := range m.under(name) {
		for _, d := range m.Decisions {
			if d.Name == l.Name {
				out = append(out, d)
			}
		}
	}
	return out
}

// forwarding are the devices that a router is likely to forward between: none that is loopback or a port of another.
func (m Machine) forwarding() []string {
	const most = 4
	var out []*engine.Link
	for i := range m.Links {
		l := &m.Links[i]
		forwards := l.Kind != "ifb" && l.Kind != "dummy"
		if forwards && !l.Loopback && l.Master == "" && (l.Ethernet || l.PointToPoint) {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b *engine.Link) int {
		return cmp.Or(cmp.Compare(flag(b.Physical), flag(a.Physical)), cmp.Compare(a.Ifindex, b.Ifindex))
	})
	var names []string
	for _, l := range out[:min(len(out), most)] {
		names = append(names, l.Name)
	}
	return names
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
