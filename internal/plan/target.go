package plan

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// sending is why the hook of a device does not send out what an entry forwards.
func (b *builder) sending(e effect, on ability) Finding {
	if e.ending != forwards {
		return Finding{}
	}
	return b.forwarding(e.device, on)
}

// copying is why the hook of a device sends no copy out of another; to is empty where none is wanted.
func (b *builder) copying(to string, on ability) Finding {
	switch {
	case to == "":
		return Finding{}
	case on.tier == XDP:
		return Finding{Reason: reason.SideEffect, Detail: "dup: XDP makes no copies"}
	}
	return b.forwarding(to, on)
}

// forwarding is why frames of a device are not sent out of another from its hook.
func (b *builder) forwarding(to string, on ability) Finding {
	switch name := on.device.Name; {
	case on.hidesTags():
		return notTarget(on.whereTags() + ": a packet would leave without its tag")
	case on.tier == XDP && on.partialChecksums():
		return notTarget("frames of " + name + " may have unfinished checksums, which XDP would send as they are")
	}
	return first(b.target(to, on), b.egressChain(to))
}

// target is why a device takes no frames from the hook of another.
func (b *builder) target(name string, on ability) Finding {
	a := b.able.of(name)
	x := a.device.XDP
	if !x.Known {
		x = a.profile.XDP
	}
	switch {
	case !a.known:
		return notTarget(name + " is not a device of the machine")
	case on.tier == TC && a.device.Type != "ether":
		return notTarget(name + " is not a device of Ethernet")
	case b.reinjects(name, mostBelow):
		return notTarget(name + " is an ifb, or stands on one: what it gives back goes round nftables")
	case on.tier == TC:
		return Finding{}
	case a.device.Qdisc.Shapes():
		return notTarget(name + " is shaped by " + a.device.Qdisc.Shaper)
	case x.Has(caps.XDPNdoXmit) != caps.Yes:
		return notTarget(name)
	}
	for _, f := range a.device.Filters {
		if f.Egress {
			return notTarget(name + " has a filter that XDP goes round: " + f.Text)
		}
	}
	return Finding{}
}

// mostBelow bounds the devices below one another.
const mostBelow = 8

// reinjects reports whether frames that are sent out of a device may come back as received (ifb_xmit, drivers/net/ifb.c):
// those that tc redirects, and not copies of nftables.
func (b *builder) reinjects(name string, depth int) bool {
	d := b.able.of(name).device
	return d.Kind == "ifb" || d.Driver == "ifb" || depth > 0 && slices.ContainsFunc(d.Lower, func(below string) bool {
		return b.reinjects(below, depth-1)
	})
}

// egressChain is the chain that packets of `fwd` come to where they leave by a device. What tc, XDP or hardware sends
// out goes round it (nf_skip_egress, include/linux/netfilter_netdev.h).
func (b *builder) egressChain(device string) Finding {
	for _, t := range b.rs.Tables {
		if t.Dormant() {
			continue
		}
		for _, c := range t.Chains {
			if c.Base != nil && c.Base.Hook == "egress" && mayHang(c, device) {
				return notTarget(device + " has chain " + string(t.Family) + " " + t.Name + " " + c.Name + " at egress")
			}
		}
	}
	return Finding{}
}

// mayHang reports whether a chain may hang on a device: it names the device or the beginning of its name. Of one without
// devices it is not known, since nft 1.0.6 leaves them out of its JSON.
func mayHang(c *ruleset.Chain, device string) bool {
	for _, d := range c.Base.Devices {
		prefix, wild := strings.CutSuffix(d, "*")
		if d == device || wild && strings.HasPrefix(device, prefix) {
			return true
		}
	}
	return len(c.Base.Devices) == 0
}

func notTarget(detail string) Finding {
	return Finding{Reason: reason.FwdTargetNotEarly, Detail: detail}
}
