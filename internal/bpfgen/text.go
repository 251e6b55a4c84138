package bpfgen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Text says what the programs of some shares look at, step by step, for people.
func Text(shares []share.Share) string {
	var b strings.Builder
	for _, s := range shares {
		if len(s.Entries) == 0 {
			continue
		}
		hook := "XDP"
		if s.Hook == share.TC {
			hook = "tc"
		}
		fmt.Fprintf(&b, "# %s: %s\n", strings.Join(s.Devices, " "), hook)
		p, err := Compile(s, Options{Ifindex: numbered(s), Next: s.Whole})
		if err != nil {
			fmt.Fprintf(&b, "left to nftables: %v\n", err)
			continue
		}
		for i, step := range p.Steps {
			fmt.Fprintf(&b, "%3d. %s\n", i+1, step.Text)
			if names := handles(step.Rules); names != "" {
				fmt.Fprintf(&b, "     %s\n", names)
			}
		}
		b.WriteString("else: on to the flow table, then to the kernel\n")
	}
	if b.Len() == 0 {
		return "# no rule runs at XDP or tc\n"
	}
	return b.String()
}

// numbered gives the devices that a share sends to numbers: the words of a program do not depend on them.
func numbered(s share.Share) map[string]uint32 {
	out := map[string]uint32{}
	for _, e := range s.Entries {
		for _, name := range e.SendsTo() {
			if out[name] == 0 {
				out[name] = uint32(len(out) + 1)
			}
		}
	}
	return out
}

// handles names the rules of a step.
func handles(refs []share.Ref) string {
	const shown = 8
	refs = slices.Compact(slices.Clone(refs))
	var parts []string
	for _, r := range refs[:min(len(refs), shown)] {
		place := "policy"
		switch {
		case r.Chain == "":
			continue // no rule: what every program asks first
		case r.Handle != 0:
			place = fmt.Sprintf("handle %d", r.Handle)
		case r.Number != 0:
			place = fmt.Sprintf("rule %d", r.Number)
		}
		parts = append(parts, fmt.Sprintf("%s %s %s", r.Table, r.Chain, place))
	}
	s := strings.Join(parts, ", ")
	if n := len(refs) - shown; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
