// Package contract is what the kernel's flowtable takes and what it does not, as read in its source: of a flow that meets
// `flow add`, of a flow that hardware is asked to carry, and of a packet of a flow that is carried. It answers with a
// reason; the zero reason means that nothing is in the way. The package is pure: what is not known of a flow is left
// zero, and is then not held against it.
package contract

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// IP protocol numbers (RFC 5237).
const (
	TCP = 6
	UDP = 17
	GRE = 47
)

// Flow is what is known of a flow when one of its packets meets `flow add`.
type Flow struct {
	Proto uint8
	IPv6  bool
	NAT   bool

	Local       bool // begins or ends on this machine
	NoRule      bool // no `flow add` rule matches it
	Untracked   bool // no conntrack entry
	Unconfirmed bool // its first packet has not left the machine
	TCPState    string
	NotAssured  bool
	Closing     bool // the packet has FIN or RST
	Helper      string
	SeqAdjust   bool
	NATClash    bool
	Dying       bool
	Offloaded   bool // already, in a flowtable or by act_ct
	GREVersion  int  // 1: PPTP
	GREKey      bool
	IPOptions   bool // of the packet
	IPsec       bool // the packet came out of a tunnel
	IPsecOut    bool // packets leave by one
	Zone        uint16

	NoReply bool // UDP: one side has sent so far

	NoReverseRoute bool
	NoNeighbor     bool
	Path           Path
}

// Refused says why `flow add` does not take the flow, in the kernel's order (nft_flow_offload_eval).
func (f Flow) Refused() reason.Reason {
	switch {
	case f.Local:
		return reason.FlowNotForwarded
	case f.NoRule:
		return reason.FlowNoRule
	case f.IPsec:
		return reason.FlowIPsec
	case f.IPOptions:
		return reason.FlowIPOptions
	case f.Untracked:
		return reason.FlowUntracked
	}
	if r := f.protocol(); r != reason.None {
		return r
	}
	switch {
	case f.Helper != "":
		return reason.FlowHelper
	case f.SeqAdjust:
		return reason.FlowSeqAdjust
	case f.NATClash:
		return reason.FlowNATClash
	case f.Unconfirmed:
		return reason.FlowUnconfirmed
	case f.Offloaded:
		return reason.FlowAlreadyOffloaded
	case f.NoReverseRoute:
		return reason.FlowNoReverseRoute
	}
	if r := f.Path.Refused(); r != reason.None {
		return r
	}
	switch {
	case f.NoNeighbor:
		return reason.FlowNeighbour
	case f.Dying:
		return reason.FlowDying
	}
	return reason.None
}

// protocol says what is wrong with the protocol, or with the state of its connection.
func (f Flow) protocol() reason.Reason {
	switch f.Proto {
	case UDP:
	case TCP:
		switch {
		case f.Closing, closing(f.TCPState):
			return reason.FlowTCPClosing
		case f.TCPState != "" && f.TCPState != "ESTABLISHED":
			return reason.FlowTCPNotEstablished
		case f.NotAssured:
			return reason.FlowTCPNotAssured
		}
	case GRE:
		switch {
		case f.GREVersion != 0 || f.GREKey:
			return reason.FlowGREVersion
		case f.NAT:
			return reason.FlowGRENAT
		}
	default:
		return reason.FlowProtocol
	}
	return reason.None
}

// closing reports whether a TCP connection was established and is so no more, by its state in conntrack.
func closing(state string) bool {
	return slices.Contains([]string{"FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"}, state)
}

// RefusedByUs says why nft-offload leaves to the kernel what the kernel's flowtable carries.
func (f Flow) RefusedByUs() reason.Reason {
	switch {
	case f.Zone != 0:
		return reason.FlowZone
	case f.Proto == GRE:
		return reason.FlowProtocol
	case f.Proto == UDP && f.NoReply:
		return reason.SeenNoReply
	}
	return reason.None
}

// NotInHardware says why a flow in a flowtable with `flags offload` is not carried by a device of this profile.
func (f Flow) NotInHardware(p caps.Profile, v caps.Version) reason.Reason {
	has := func(c caps.Condition) bool { return slices.Contains(p.Conditions, c) }
	switch {
	case f.IPsecOut:
		return reason.FlowXfrmNotInHardware
	case f.Path.Tunnels > 0 && (!v.Known() || v.AtLeast(7, 1)):
		return reason.FlowTunnelNotInHardware
	case p.Flowtable == caps.No:
		return reason.FlowNotOfFTDriver
	case f.Path.AD:
		return reason.FlowTagNotInHardware
	case f.IPv6 && f.NAT && has(caps.NoIPv6NAT):
		return reason.FlowIPv6NATNotInHardware
	case f.Proto == GRE && has(caps.NoGRE):
		return reason.FlowGRENotInHardware
	}
	return reason.None
}

// Unseen is what to say of a flow that is in the flowtable and not in hardware: what the profiles of its devices know, else
// only that it is so, because the kernel drops what the driver says.
func (f Flow) Unseen(v caps.Version, devices ...caps.Profile) reason.Reason {
	for _, p := range devices {
		if r := f.NotInHardware(p, v); r != reason.None {
			return r
		}
	}
	return reason.FlowNotInHardware
}
