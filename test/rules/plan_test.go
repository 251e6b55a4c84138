package rules_test

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// shareOf plans a ruleset and returns what runs early on a device, and which rules and policies end packets there. The
// devices are planned as NICs, so that everything that a hook can do is done there.
func (l *lab) shareOf(rs *ruleset.Ruleset, d *device, hook share.Hook) (*share.Share, map[place]bool, error) {
	profile, ok := caps.Lookup("ixgbe")
	if !ok {
		return nil, nil, fmt.Errorf("no profile")
	}
	m := caps.Assume(profile, "r0", "p0", "r1", "d1")
	chosen := map[string]string{}
	for i := range m.Devices {
		m.Devices[i].Ifindex = l.devices[m.Devices[i].Name]
		chosen[m.Devices[i].Name] = hook.String()
	}
	pl := plan.Make(rs, m, plan.Options{NoHardware: true, Hooks: chosen, SetsChange: true})
	for _, s := range pl.Shares() {
		if slices.Contains(s.Devices, d.Name) && s.Hook == hook {
			return &s, decides(pl, d), nil
		}
	}
	return nil, nil, nil
}

// decides are the rules and policies that a plan executes early on a device.
func decides(pl *plan.Plan, d *device) map[place]bool {
	out := map[place]bool{}
	add := func(at place, ps []plan.Placement) {
		for _, p := range ps {
			if slices.Contains(p.Devices, d.Name) && p.Tier != plan.Software {
				out[at] = true
			}
		}
	}
	for _, c := range pl.Chains {
		for _, r := range c.Rules {
			add(place{c.Family, c.Table, c.Name, r.Number}, r.At)
		}
		add(place{c.Family, c.Table, c.Name, 0}, c.PolicyAt)
	}
	return out
}

// ifindexes are those of the lab's devices.
func (l *lab) ifindexes() map[string]uint32 { return l.devices }
