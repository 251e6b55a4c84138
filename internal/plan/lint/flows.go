package lint

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// checkFlows asks the kernel's contract about the flows that the ruleset and the devices lead to.
func (c *checker) checkFlows() {
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			p := c.flowtablePlace(f)
			c.checkDepth(f, p)
			if slices.Contains(f.Flags, "offload") {
				c.checkHardware(f, p)
			}
		}
	}
}

// checkDepth looks at the devices above those of a flowtable: the kernel follows five devices down, and two tags.
func (c *checker) checkDepth(f *ruleset.Flowtable, p Place) {
	var done []string
	for _, name := range f.Devices {
		for _, up := range c.devices[name].Uppers {
			if slices.Contains(done, up) {
				continue
			}
			done = append(done, up)
			path := contract.Down(c.m, up)
			path.Lowest = "" // lowest-device-missing is about that
			r := path.Refused()
			if r == reason.None {
				continue
			}
			p := p
			p.Device = up
			c.say(r, Warning, p, "", "%s, on the way of flows through %s: they stay slow", r.Info().Text, up)
		}
	}
}

// checkHardware asks for kinds of flows whether the drivers of a flowtable with `flags offload` take them.
func (c *checker) checkHardware(f *ruleset.Flowtable, p Place) {
	var profiles []caps.Profile
	var above []string
	for _, name := range f.Devices {
		d := c.devices[name]
		if profile, ok := caps.ProfileOf(d); ok && profile.Flowtable == caps.Yes {
			profiles = append(profiles, profile)
			above = append(above, d.Uppers...)
		}
	}
	kinds := []struct {
		what string
		flow contract.Flow
		when bool
	}{
		{"with IPv6 NAT", contract.Flow{Proto: contract.TCP, IPv6: true, NAT: true}, c.translatesIPv6()},
		{"of GRE", contract.Flow{Proto: contract.GRE}, c.addsGRE(f)},
		{"with an 802.1ad tag", contract.Flow{Proto: contract.TCP, Path: contract.Path{AD: true}}, slices.ContainsFunc(above, func(d string) bool { return contract.Down(c.m, d).AD })},
	}
	for _, k := range kinds {
		for _, profile := range profiles {
			r := k.flow.NotInHardware(profile, c.m.Kernel.Version)
			if !k.when || r == reason.None {
				continue
			}
			c.say(r, Note, p, r.Info().Remedy, "flows %s run in software: %s (profile %s)", k.what, r.Info().Text, profile.Name)
			break
		}
	}
}

// translatesIPv6 reports whether a rule translates addresses of IPv6.
func (c *checker) translatesIPv6() bool {
	found := false
	c.eachRule(func(t *ruleset.Table, _ *ruleset.Chain, r *ruleset.Rule) {
		for _, s := range r.Stmts {
			n, ok := s.(ruleset.NAT)
			if !ok || t.Family == ruleset.IP || n.Family == "ip" {
				continue
			}
			for _, o := range c.a.facts[r].outcomes {
				found = found || o.may.w&ofFamily(familyIP6) != 0
			}
		}
	})
	return found
}

// addsGRE reports whether a rule that names its protocols adds flows of GRE.
func (c *checker) addsGRE(f *ruleset.Flowtable) bool {
	return slices.ContainsFunc(c.adds, func(ad addRule) bool {
		own := ad.add.may.w
		return ad.flowtable == f && own&ofProto(gre) != 0 && own&ofProto(otherProto) == 0
	})
}
