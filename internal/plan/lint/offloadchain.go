package lint

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// checkOffloadChains reports chains with `flags offload` that the kernel refuses, and the ruleset with them. Rules that
// it refuses are the business of package plan.
func (c *checker) checkOffloadChains() {
	for _, t := range c.rs.Tables {
		for _, ch := range t.Chains {
			if ch.Base != nil && slices.Contains(ch.Base.Flags, "offload") {
				c.checkOffloadChain(t, ch)
				c.checkClash(ch)
				c.checkBusy(ch)
			}
		}
	}
}

func (c *checker) checkOffloadChain(t *ruleset.Table, ch *ruleset.Chain) {
	p, b := c.chainPlace(ch), ch.Base
	switch {
	case t.Family != ruleset.Netdev:
		c.say(reason.ChainNotNetdev, Error, p, "table netdev "+t.Name, "the kernel offloads chains of family netdev, and this is %s", t.Family)
	case b.Hook != "ingress":
		c.say(reason.ChainNotIngress, Error, p, "hook ingress", "the kernel offloads chains of hook ingress, and this one's is %s", b.Hook)
	}
	if b.Priority < 1 || b.Priority > 1<<16-1 {
		c.say(reason.ChainPriorityRange, Error, p, "priority 1", "a chain with `flags offload` needs a priority from 1 to 65535, and this one's is %d", b.Priority)
	}
	if b.Policy == string(ruleset.Drop) {
		c.say(reason.ChainPolicyDrop, Error, p, "policy accept, and a last rule drop", "the kernel does not offload a chain with policy drop")
	}
}

// checkBusy reports devices of an offloaded chain that tc rules may have already.
func (c *checker) checkBusy(ch *ruleset.Chain) {
	for _, name := range ch.Base.Devices {
		if d := c.devices[name]; len(d.Filters) > 0 {
			p := c.chainPlace(ch)
			p.Device = name
			c.say(reason.BlockBusy, Warning, p, "tc qdisc show dev "+name, "tc filters are on %s: where they are in hardware, the driver refuses the chain", name)
		}
	}
}

// checkClash reports devices that both an offloaded chain and a flowtable with `flags offload` ask the driver for.
func (c *checker) checkClash(ch *ruleset.Chain) {
	for _, t := range c.rs.Tables {
		for _, f := range t.Flowtables {
			i := slices.IndexFunc(f.Devices, func(d string) bool { return slices.Contains(ch.Base.Devices, d) })
			if i < 0 || !slices.Contains(f.Flags, "offload") {
				continue
			}
			c.say(reason.ChainAndFlowtableClash, Warning, c.chainPlace(ch), "`flags offload` on one of the two",
				"this chain and flowtable %s both have `flags offload` on %s; drivers give the device to one of them", f.Name, f.Devices[i])
			return
		}
	}
}
