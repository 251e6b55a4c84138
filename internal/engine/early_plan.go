package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	ruleplan "github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// RuledDevice is a device with ingress chains, and where their rules run.
type RuledDevice struct {
	Name    string `json:"name"`
	Ifindex uint32 `json:"ifindex,omitempty"`
	Hook    Hook   `json:"hook"`            // where a program executes rules; off for nowhere
	Reason  Reason `json:"reason,omitzero"` // why off, or why not XDP
	Early   int    `json:"early"`           // rules that the program executes
	// Software are the rules that only nftables executes, by reason.
	Software []SoftwareRules `json:"software"`
	// Said is what the kernel's verifier said of a program that it refused.
	Said string `json:"verifier,omitempty"`
	// Packets are what became of those that came to the program.
	Packets EarlyPackets `json:"packets"`

	key string // of the program
}

// SoftwareRules are rules that stay with nftables for one reason.
type SoftwareRules struct {
	Reason Reason `json:"reason"`
	Rules  int    `json:"rules"`
	First  string `json:"first"` // one of them
}

// EarlyPackets are packets that came to a program of rules.
type EarlyPackets struct {
	Dropped   uint64 `json:"dropped"`
	Forwarded uint64 `json:"forwarded"`
	Ended     uint64 `json:"passed"`    // came to the end of the rules
	Left      uint64 `json:"left"`      // nftables has to decide: the program cannot tell
	Suspended uint64 `json:"suspended"` // came while rules were not executed early
}

// ChainsView is one reading of the ruleset, whole, and of the machine.
type ChainsView struct {
	Rules   *ruleset.Ruleset
	Machine caps.Machine
	Err     error // why they were not read
}

// earlyPlan is what of a reading runs early.
type earlyPlan struct {
	devices []RuledDevice     // by name
	early   map[string]*Early // by the key of RuledDevice
	exist   map[RuleID]bool
}

// tried is what trying has taught: the devices where XDP failed, by ifindex, the programs that could not be used, by key,
// and the keys of programs.
type tried struct {
	noXDP    map[uint32]failure
	refused  map[string]refusedRules
	programs *programs
}

// planEarly plans the ingress chains for the devices that there are.
func planEarly(v View, choices Choices, t tried) earlyPlan {
	out := earlyPlan{early: map[string]*Early{}, exist: map[RuleID]bool{}}
	if v.Chains == nil {
		return out
	}
	if v.Chains.Err != nil {
		out.exist = nil // not known
		for _, l := range v.Links {
			if len(v.Ruleset.Ingress(l.Name)) > 0 {
				out.devices = append(out.devices, RuledDevice{
					Name: l.Name, Ifindex: l.Ifindex, Hook: Off, Software: []SoftwareRules{},
					Reason: Reason{reason.RulesUnread, v.Chains.Err.Error(), "nftables executes all rules"},
				})
			}
		}
		return out
	}
	noEarlier := notXDP(v.Links, choices, t.noXDP)
	p := ruleplan.Make(v.Chains.Rules, v.Chains.Machine, ruleplan.Options{NoHardware: true, SetsChange: true, Hooks: hooks(choices, noEarlier)})
	tables := map[TableID]int{}
	for _, t := range v.Chains.Rules.Tables {
		tables[TableID{string(t.Family), t.Name}] = t.Handle
	}
	links := map[string]*Link{}
	for i := range v.Links {
		links[v.Links[i].Name] = &v.Links[i]
	}
	ruled := rulesOf(p, tables, out.exist)
	for _, s := range p.Shares() {
		for _, name := range s.Devices {
			d, l := ruled[name], links[name]
			if d == nil || l == nil || len(s.Entries) == 0 {
				continue
			}
			e := earlyOf(&s, l, links, tables)
			d.key = t.programs.key(name, e)
			if r, ok := t.refused[d.key]; ok {
				d.Reason, d.Said = r.reason, r.said
				d.give(r.reason)
				continue
			}
			if d.Hook = Hook(s.Hook.String()); d.Hook == TC {
				d.Reason = noEarlier[name]
			}
			out.early[d.key] = e
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ruled)) {
		d := ruled[name]
		if l := links[name]; l != nil {
			d.Ifindex = l.Ifindex
		}
		out.devices = append(out.devices, *d)
	}
	return out
}

// notXDP says of devices why rules cannot be executed at XDP there, whatever the plan would like: what the device lacks,
// and what trying has said.
func notXDP(links []Link, choices Choices, failed map[uint32]failure) map[string]Reason {
	out := map[string]Reason{}
	for _, l := range links {
		r := cmp.Or(failed[l.Ifindex].reason, l.XDP)
		if !r.OK() && choices[l.Name] != Off {
			out[l.Name] = r
		}
	}
	return out
}

// hooks are what the user says of hooks, where it is possible.
func hooks(choices Choices, notXDP map[string]Reason) map[string]string {
	out := map[string]string{}
	for name, h := range choices {
		out[name] = string(h)
	}
	for name := range notXDP {
		out[name] = string(TC)
	}
	return out
}

// earlyOf is the program of a device.
func earlyOf(s *share.Share, l *Link, links map[string]*Link, tables map[TableID]int) *Early {
	whole := *s
	whole.Sets = slices.Clone(s.Sets)
	for i := range whole.Sets {
		whole.Sets[i].Elems = nil // they change while the program runs
	}
	e := &Early{Share: &whole, Tables: map[TableID]int{}, Ifindex: map[string]uint32{}, Bare: !l.Ethernet}
	for i := range s.Entries {
		n := &s.Entries[i]
		t := TableID{string(n.Rule.Family), n.Rule.Table}
		e.Tables[t] = tables[t]
		for _, name := range n.SendsTo() {
			if to := links[name]; to != nil {
				e.Ifindex[name] = to.Ifindex
			}
		}
	}
	return e
}

// rulesOf counts the rules of ingress chains by device and by where they run.
func rulesOf(p *ruleplan.Plan, tables map[TableID]int, exist map[RuleID]bool) map[string]*RuledDevice {
	out := map[string]*RuledDevice{}
	for _, c := range p.Chains {
		t := TableID{string(c.Family), c.Table}
		exist[RuleID{t.Family, t.Name, tables[t], c.Name, 0}] = true
		for _, d := range c.Devices {
			if out[d] == nil && c.Hook == "ingress" {
				out[d] = &RuledDevice{Name: d, Hook: Off, Software: []SoftwareRules{}}
			}
		}
	}
	for _, c := range p.Chains {
		t := TableID{string(c.Family), c.Table}
		for _, r := range c.Rules {
			exist[RuleID{t.Family, t.Name, tables[t], c.Name, r.Handle}] = true
			for _, at := range r.At {
				for _, name := range cmpDevices(at.Devices, c.Devices) {
					if d := out[name]; d != nil {
						d.count(at, fmt.Sprintf("%s %s %s: %s", c.Family, c.Table, c.Name, r.Text))
					}
				}
			}
		}
	}
	return out
}

// cmpDevices are the devices of a placement: none named means all of the chain.
func cmpDevices(named, all []string) []string {
	if len(named) > 0 {
		return named
	}
	return all
}

// count notes where a rule runs.
func (d *RuledDevice) count(at ruleplan.Placement, text string) {
	if at.Tier != ruleplan.Software {
		d.Early++
		return
	}
	d.software(findingReason(at.Finding), 1, text)
}

func (d *RuledDevice) software(why Reason, n int, first string) {
	i := slices.IndexFunc(d.Software, func(s SoftwareRules) bool { return s.Reason.Code == why.Code })
	if i < 0 {
		d.Software = append(d.Software, SoftwareRules{Reason: why, Rules: n, First: first})
		return
	}
	d.Software[i].Rules += n
}

// give leaves all rules to nftables.
func (d *RuledDevice) give(why Reason) {
	if d.Early > 0 {
		d.software(why, d.Early, "all that could run early")
	}
	d.Hook, d.Early = Off, 0
}

// findingReason is what a plan found, in the engine's form.
func findingReason(f ruleplan.Finding) Reason {
	i := f.Reason.Info()
	text := i.Text
	if f.Detail != "" {
		text = fmt.Sprintf("%s (%s)", text, f.Detail)
	}
	return Reason{f.Reason, text, i.Remedy}
}
