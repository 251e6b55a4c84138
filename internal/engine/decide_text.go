package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Where says where a decision's packets are looked up, in one line: "xdp", and for a device that stands on others
// "tc on r0 (tag 10), r2; off on r3".
func (d Decision) Where() string {
	if len(d.On) == 0 || len(d.On) == 1 && d.On[0].Name == d.Name {
		return string(d.Hook)
	}
	var parts []string
	for _, h := range []Hook{XDP, TC, Off} {
		var names []string
		for _, p := range d.On {
			if p.Hook == h {
				names = append(names, p.Name+p.tagged())
			}
		}
		if len(names) > 0 {
			parts = append(parts, fmt.Sprintf("%s on %s", h, strings.Join(names, ", ")))
		}
	}
	return strings.Join(parts, "; ")
}

// tagged renders the tags as " (tag 10)", two of them outer first as " (tags 100.10)".
func (p Place) tagged() string {
	switch len(p.Tags) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (tag %d)", p.Tags[0].ID)
	}
	var ids []string
	for _, t := range p.Tags {
		ids = append(ids, fmt.Sprint(t.ID))
	}
	return fmt.Sprintf(" (tags %s)", strings.Join(ids, "."))
}

// SlowAbove are the devices above whose flows stay slow for a reason that Reasons does not give.
func (d Decision) SlowAbove() []SlowDevice {
	said := d.Reasons()
	return slices.DeleteFunc(slices.Clone(d.Slow), func(u SlowDevice) bool { return slices.Contains(said, u.Reason) })
}

// Reasons are what a person has to know of a decision: why what is off is off, and why what runs is not at XDP, the
// latter once for places with the same reason.
func (d Decision) Reasons() []Reason {
	if len(d.On) == 0 {
		if d.Reason.OK() {
			return nil
		}
		return []Reason{d.Reason}
	}
	var out []Reason
	said := map[Reason]bool{}
	running := map[reason.Reason]bool{}
	for _, p := range d.On {
		if p.Reason.OK() || said[p.Reason] || p.Hook != Off && running[p.Reason.Code] {
			continue
		}
		said[p.Reason] = true
		running[p.Reason.Code] = running[p.Reason.Code] || p.Hook != Off
		out = append(out, p.Reason)
	}
	return out
}
