package link

import (
	"fmt"
	"net"
	"net/netip"
)

// Kind is what an event is about.
type Kind uint8

// The kinds of events.
const (
	// Lost says that the kernel dropped notifications: anything may have changed. The watch goes on.
	Lost Kind = iota
	// LinkChanged: a device came, went, or changed in name, address, MTU, state, master, XDP program or features.
	LinkChanged
	// AddrChanged: an IP address was added to a device or removed from it.
	AddrChanged
	// RouteChanged: a route or a nexthop object was added, changed or removed.
	RouteChanged
	// RuleChanged: a policy routing rule was added or removed.
	RuleChanged
	// NeighChanged: a neighbor that had a link-layer address got another one, failed, or was removed.
	NeighChanged
	// FDBChanged: a bridge learned an address, saw it on another port, or forgot it.
	FDBChanged
	// PortChanged: a bridge said something about one of its ports: another state (STP), other flags or VLANs. The
	// bridge itself counts as a port, of its own VLANs.
	PortChanged
	// TCChanged: a qdisc, class or filter of a device changed.
	TCChanged
	// XDPChanged: what a device's driver can do with XDP changed.
	XDPChanged
)

// String names the kind.
func (k Kind) String() string {
	names := [...]string{"lost", "link", "addr", "route", "rule", "neigh", "fdb", "port", "tc", "xdp"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Event is one change. Which fields mean something depends on Kind.
type Event struct {
	Kind    Kind
	Ifindex uint32 // the device; of a route the first one it leaves by; of FDBChanged the bridge port
	Gone    bool   // LinkChanged: no longer in this namespace. Others: the object was removed.

	// LinkChanged.
	Name        string
	Up, Running bool

	// RouteChanged (destination), AddrChanged (address).
	Prefix netip.Prefix
	Table  uint32 // RouteChanged

	// NeighChanged; FDBChanged uses Old for the address that moved.
	IP       netip.Addr
	Old, New net.HardwareAddr
	State    uint16 // NUD_*
	Failed   bool   // the neighbor does not answer

	// FDBChanged.
	Bridge, OldPort uint32
	VLAN            uint16
}

// String renders the event for logs and test failures.
func (e Event) String() string {
	verb := "changed"
	if e.Gone {
		verb = "removed"
	}
	switch e.Kind {
	case LinkChanged:
		return fmt.Sprintf("link %d %s %s up=%v running=%v", e.Ifindex, e.Name, verb, e.Up, e.Running)
	case AddrChanged:
		return fmt.Sprintf("addr %s on %d %s", e.Prefix, e.Ifindex, verb)
	case RouteChanged:
		return fmt.Sprintf("route %s table %d dev %d %s", e.Prefix, e.Table, e.Ifindex, verb)
	case NeighChanged:
		if e.Failed {
			verb = "failed"
		}
		return fmt.Sprintf("neigh %s on %d %s: %s -> %s", e.IP, e.Ifindex, verb, e.Old, e.New)
	case FDBChanged:
		return fmt.Sprintf("fdb %s vlan %d of %d: port %d -> %d %s", e.Old, e.VLAN, e.Bridge, e.OldPort, e.Ifindex, verb)
	case Lost:
		return "lost"
	case PortChanged, RuleChanged, TCChanged, XDPChanged:
	}
	return fmt.Sprintf("%s %d %s", e.Kind, e.Ifindex, verb)
}
