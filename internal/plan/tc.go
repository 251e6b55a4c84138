package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Preferences of the filters of hardware rules. 49000 to 49015 are those of the fast path's own programs.
const (
	PrefFirst = 50000
	PrefLast  = 59999
)

// prefs gives preferences to filters. The kernel looks filters up in the order of their preferences, and within one in
// no order that a rule could rely on (cls_flower.c: mask by mask), so one preference has filters that exclude each other,
// of one protocol only (cls_api.c tcf_chain_tp_find).
type prefs struct {
	last     int // preference that was given last; 0: none
	handle   int
	protocol string
	spaces   []space.Space
}

// numbered is a filter and where it is.
type numbered struct {
	filter
	pref, handle int
}

// mostSharing bounds the rules that share a preference.
const mostSharing = 64

// give numbers the filters of a rule; false when there are no preferences left.
func (p *prefs) give(fs []filter, s space.Space) ([]numbered, bool) {
	slices.SortStableFunc(fs, func(a, b filter) int { return cmp.Compare(a.protocol, b.protocol) })
	out := make([]numbered, 0, len(fs))
	for i, f := range fs {
		fresh := p.last == 0 || f.protocol != p.protocol
		if i == 0 {
			fresh = fresh || len(p.spaces) >= mostSharing || slices.ContainsFunc(p.spaces, func(t space.Space) bool { return !space.Disjoint(s, t) })
		}
		if fresh {
			p.last, p.handle, p.protocol, p.spaces = max(p.last+1, PrefFirst), 0, f.protocol, nil
		}
		if p.last > PrefLast {
			return nil, false
		}
		if i == 0 || fresh {
			p.spaces = append(p.spaces, s)
		}
		p.handle++
		out = append(out, numbered{f, p.last, p.handle})
	}
	return out, true
}

func noPrefs() Finding {
	return Finding{Reason: reason.HardwareTableFull, Detail: fmt.Sprintf("preferences %d to %d are used up", PrefFirst, PrefLast)}
}

// TC renders the hardware share as commands of tc(8).
func (p *Plan) TC() string {
	w := &writer{}
	for _, s := range p.judged {
		for _, d := range s.devices {
			s.tc(w, d)
		}
	}
	if w.b.Len() == 0 {
		w.line("# no rule goes to hardware")
	}
	return w.b.String()
}

func (j *judged) tc(w *writer, device string) {
	if !slices.ContainsFunc(j.entries, func(e *entry) bool { return len(e.filters) > 0 }) {
		return
	}
	w.line("# " + device + ": rules in hardware")
	if j.on.switchesOn() {
		w.line("ethtool -K " + device + " hw-tc-offload on")
	}
	w.line("tc qdisc add dev " + device + " clsact")
	for _, e := range j.entries {
		if len(e.filters) > 0 {
			w.line("# " + e.words())
		}
		for _, f := range e.filters {
			w.line(f.tc(device))
		}
	}
}

// words is the rule of an entry on one line.
func (e *entry) words() string {
	if e.rule == nil {
		return e.chain.Name + ": policy drop"
	}
	return fmt.Sprintf("%s %s: %s", e.chain.Name, e.ref().place(), text(e.rule))
}

func (f numbered) tc(device string) string {
	keys := slices.Clone(f.keys)
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	parts := append([]string{fmt.Sprintf("tc filter add dev %s ingress protocol %s pref %d handle %#x flower skip_sw", device, f.protocol, f.pref, f.handle)}, keys...)
	return strings.Join(append(parts, f.action), " ")
}

// rank is the order in which tc wants to hear keys: what a key depends on comes first.
func rank(key string) int {
	name, _, _ := strings.Cut(key, " ")
	order := []string{
		"vlan_id", "vlan_prio", "vlan_ethtype", "dst_mac", "src_mac", "ip_proto", "src_ip", "dst_ip", "ip_tos", "ip_ttl",
		"src_port", "dst_port", "tcp_flags", "type", "code",
	}
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}
