package lint

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

const (
	slowLink   = 1000 // Mbit/s that one CPU forwards in large packets
	enoughCPUs = 4
)

// checkMachine says what the kernel and the links have to do with it.
func (c *checker) checkMachine() {
	c.checkQuirks()
	if len(c.adds) == 0 {
		return
	}
	if c.m.Kernel.Has(caps.OptFlowtable) == caps.No {
		c.say(reason.NoFlowtable, Error, Place{}, "nft-offload load --lower FILE", "this kernel has no flowtables: the ruleset does not load as it is")
	}
	c.checkWorth()
}

// checkQuirks names the kernel's bugs that what the ruleset uses may meet, where the kernel is one that somebody runs.
func (c *checker) checkQuirks() {
	v := c.m.Kernel.Version
	if !v.Known() || c.m.Assumed {
		return
	}
	uses := c.uses()
	for _, q := range caps.QuirksOf(v) {
		if !uses[q.Scope] {
			continue
		}
		s, has := Warning, "has"
		if q.Answer != caps.Yes {
			s, has = Note, "may have"
		}
		instead := q.Remedy
		if in := q.FixedIn(); in != "" {
			if instead != "" {
				instead += "; "
			}
			instead += "fixed in " + in
		}
		c.say(reason.KernelQuirk, s, Place{}, instead, "Linux %s %s %s: %s", v.Number(), has, q.ID, q.Title)
	}
}

// uses says which parts of the kernel the ruleset uses.
func (c *checker) uses() map[caps.Scope]bool {
	uses := map[caps.Scope]bool{}
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			uses[caps.ScopeFlowtable] = true
			if slices.Contains(f.Flags, "offload") {
				uses[caps.ScopeFlowtableOffload] = true
			}
			for _, name := range f.Devices {
				c.usesDevice(uses, c.devices[name])
			}
		}
		for _, ch := range t.Chains {
			if ch.Base != nil && slices.Contains(ch.Base.Flags, "offload") {
				uses[caps.ScopeChainOffload] = true
			}
		}
	}
	uses[caps.ScopeFlowtableNAT] = uses[caps.ScopeFlowtable] && c.nats()
	return uses
}

// usesDevice looks at a flowtable's device and at what stands on it.
func (c *checker) usesDevice(uses map[caps.Scope]bool, d caps.Device) {
	for _, name := range append([]string{d.Name}, d.Uppers...) {
		switch c.devices[name].Kind {
		case "ppp", "pppoe":
			uses[caps.ScopeFlowtablePPPoE], uses[caps.ScopeFlowtableStacked] = true, true
		case "bridge", "vlan":
			uses[caps.ScopeFlowtableStacked] = true
		}
	}
}

func (c *checker) nats() bool {
	found := false
	c.eachRule(func(_ *ruleset.Table, _ *ruleset.Chain, r *ruleset.Rule) {
		for _, s := range r.Stmts {
			if _, ok := s.(ruleset.NAT); ok {
				found = true
			}
		}
	})
	return found
}

// checkWorth says where offload brings little, or has a price.
func (c *checker) checkWorth() {
	var speeds []int
	hardware := false
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			hardware = hardware || slices.Contains(f.Flags, "offload")
			for _, name := range f.Devices {
				for _, low := range c.lowest(name) {
					speeds = append(speeds, c.devices[low].Speed)
				}
			}
		}
	}
	if len(speeds) == 0 || slices.Contains(speeds, 0) {
		return // not known
	}
	fastest, slowest := slices.Max(speeds), slices.Min(speeds)
	switch {
	case hardware && fastest > slowest:
		c.say(reason.HardwareBufferbloat, Note, Place{}, "no `flags offload` where the CPU suffices, or a shaper in the switch",
			"links of %s and %s in one flowtable with `flags offload`: packets from the faster one queue up in the device", speed(fastest), speed(slowest))
	case fastest <= slowLink && c.m.CPUs >= enoughCPUs:
		c.say(reason.NotWorthIt, Note, Place{}, "mpstat -P ALL 1 under load, first",
			"no link is faster than %s and there are %d CPUs: offload saves CPU time, the links are full without it", speed(fastest), c.m.CPUs)
	}
}

func speed(mbit int) string {
	if mbit%1000 == 0 {
		return fmt.Sprintf("%d Gbit/s", mbit/1000)
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}
