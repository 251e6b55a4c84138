package engine

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// hooked names what somebody hung on a device that fast packets would not pass. The advice says how to go without.
// Chains that are executed before packets are looked up are passed; only those of the ingress hook can be.
func hooked(l *Link, r handover.Ruleset, early bool) Reason {
	if len(l.Filters) > 0 {
		return Reason{reason.OffForeignFilter, fmt.Sprintf("fast packets would not pass the %s on %s", l.Filters[0], l.Name), "remove it, or keep the device off with --device " + l.Name + "=off"}
	}
	for _, c := range r.Ingress(l.Name) {
		if early && c.Hook == "ingress" {
			continue
		}
		return Reason{reason.OffDeviceChain, fmt.Sprintf("fast packets would not pass the %s chain %s %s %s on %s", c.Hook, c.Family, c.Table, c.Name, l.Name), "remove the chain or its rules"}
	}
	if l.Kind == kindBridge {
		if i := slices.IndexFunc(r.Bridge(), func(c handover.Chain) bool { return c.Hook != "forward" }); i >= 0 {
			// Packets that are routed never pass a bridge's forward hook.
			c := r.Bridge()[i]
			return Reason{reason.OffBridgeChain, fmt.Sprintf("fast packets would not pass the %s chain %s %s %s of the bridge %s", c.Hook, c.Family, c.Table, c.Name, l.Name), "remove the chain or its rules"}
		}
	}
	return Reason{}
}

// hookedAbove is what hooked is for a device that packets would not pass at all. XDP programs and the qdisc of the
// device where they are looked up see them.
func hookedAbove(l *Link, r handover.Ruleset) Reason {
	switch {
	case len(l.XDPPrograms) > 0:
		return Reason{reason.OffForeignXDP, fmt.Sprintf("fast packets would not pass the %s on %s", l.XDPPrograms[0], l.Name), fmt.Sprintf("ip link set dev %s xdp off", l.Name)}
	case l.Qdisc != "":
		return Reason{reason.OffQdiscAbove, fmt.Sprintf("fast packets would not pass the %s qdisc of %s", l.Qdisc, l.Name), "put it on the device below"}
	}
	return hooked(l, r, false)
}

// bypass reports whether the reason is something that slow packets pass and fast ones would not.
func bypass(r Reason) bool {
	switch r.Code {
	case reason.OffForeignFilter, reason.OffDeviceChain, reason.OffBridgeChain, reason.OffForeignXDP, reason.OffQdiscAbove:
		return true
	default:
		return false
	}
}
