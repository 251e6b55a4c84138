package nft

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Report is what loading did to a ruleset on the way.
type Report struct {
	// Lowered says that `flow add` was rewritten; false where the kernel's own flowtables are used, or none are.
	Lowered    bool        `json:"lowered"`
	Flowtables []Flowtable `json:"flowtables,omitempty"`
	Rules      int         `json:"rules"` // `flow add` statements found
	// Deviations are the ways in which the lowered ruleset differs from what the kernel would have done, a sentence each.
	Deviations []string `json:"deviations,omitempty"`
}

// Flowtable is one flowtable of the text.
type Flowtable struct {
	Family   string   `json:"family"`
	Table    string   `json:"table"`
	Name     string   `json:"name"`
	Hook     string   `json:"hook,omitempty"`
	Priority string   `json:"priority,omitempty"`
	Devices  []string `json:"devices"` // that exist, and patterns as eth*
	// Missing do not exist. The kernel's flowtable cannot list them: they are left out. A lowered one does, and they
	// are taken up when they appear.
	Missing []string `json:"missing,omitempty"`
	// Patterns are names as eth* that the kernel's flowtable does not take: Devices has those that match now. A later
	// one is listed when the ruleset is loaded again.
	Patterns []string        `json:"patterns,omitempty"`
	Flags    []string        `json:"flags,omitempty"`   // as written: offload, counter
	Refused  string          `json:"refused,omitempty"` // why `flags offload` was left out
	Labels   handover.Labels `json:"labels,omitzero"`   // of its `flow add` rules, where lowered
	Mark     uint32          `json:"mark,omitempty"`    // in place of labels
}

// key tells flowtables apart.
type key struct{ family, table, name string }

func (f Flowtable) key() key { return key{f.Family, f.Table, f.Name} }

// elements are the names in the set that stands for the flowtable.
func (f Flowtable) elements() []string { return slices.Concat(f.Devices, f.Missing) }

// asWritten reports whether the devices are those of the text.
func (f Flowtable) asWritten() bool { return len(f.Missing)+len(f.Patterns) == 0 }

// patterned reports whether the set has a name with an asterisk, for which it has to be one of intervals.
func (f Flowtable) patterned() bool { return slices.ContainsFunc(f.elements(), pattern) }

// pattern reports whether a name means all devices that begin so. nft takes an asterisk at the end only.
func pattern(name string) bool { return strings.HasSuffix(name, "*") }

// has reports whether the flowtable was written with a flag.
func (f Flowtable) has(flag string) bool { return slices.Contains(f.Flags, flag) }

// tie collects what marks the flows of one flowtable.
type tie struct {
	labels handover.Labels
	mark   uint32
}

func (t *tie) add(m marker) {
	if m.mark != 0 {
		t.mark = m.mark
		return
	}
	t.labels.Add(m.label)
}

// tieAll fills in the labels and marks of flowtables.
func tieAll(tables []Flowtable, ties map[key]*tie) {
	for i := range tables {
		if t := ties[tables[i].key()]; t != nil {
			tables[i].Labels, tables[i].Mark = t.labels, t.mark
		}
	}
}

// deviations lists what the lowered text cannot do as the kernel's flowtable does.
func deviations(r Report, mark uint32, shared bool) []string {
	if !r.Lowered {
		return nil
	}
	var out []string
	for _, f := range r.Flowtables {
		if f.has("offload") {
			out = append(out, "flowtable "+f.Name+": no effect of `flags offload`, there is no kernel flowtable that could hand flows to hardware")
		}
		if f.has("counter") {
			out = append(out, "flowtable "+f.Name+": no effect of `counter`, packets on the fast path are counted there and not in conntrack")
		}
	}
	if r.Rules == 0 {
		return out
	}
	out = append(out,
		"rules in front of `flow add`, and other chains, still see the packets of a taken flow that are not on the fast path; a kernel flowtable would hide them",
		"a flow stays taken as long as conntrack knows the connection; a kernel flowtable forgets it after 30 s of silence, and the rules decide again",
		"packets of a taken flow are accepted from every device of the flowtable; the kernel's entry also remembers the device of each direction",
		"TCP connections that are being closed may still be taken: nft can ask whether conntrack has assured them, not for their TCP state",
		"datagrams that arrived in fragments count as whole ones: conntrack has put them together before the forward hook",
		"flows without a route back, and packets that IPsec has decrypted, are taken too",
		"two packets of a flow that meet `flow add` on two CPUs at the same moment may both run what is behind it",
		"GRE flows are never taken",
	)
	if mark == 0 {
		return append(out, "connections older than the first rule that uses labels have no room for one: they are never taken")
	}
	out = append(out, "connections that already carry the mark bit count as taken")
	if shared {
		out = append(out, "all `flow add` rules share the mark bit: the packet that one of them takes is accepted by the next one of the same flowtable")
	}
	return out
}
