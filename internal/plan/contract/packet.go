package contract

import (
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Packet is what is known of a packet of a flow that the kernel's flowtable carries.
type Packet struct {
	IPv6       bool
	Encap      bool  // neither IP as it is, nor in one 802.1Q tag of the frame, nor in a PPPoE session
	Proto      uint8 // behind the IP header: an extension header's number, where there is one
	GREVersion int
	GREKey     bool
	ExtHeader  bool // IPv6
	Fragment   bool // IPv4
	Options    bool // IPv4
	TTL        uint8
	Len, MTU   int // of the packet, of a segment where it is many in one; 0: not known
	FINorRST   bool
	SYN        bool // on a connection that is closing
}

// Slow says why the kernel's flowtable leaves the packet to the slow path, in its order (nf_flow_offload_ip_hook).
func (p Packet) Slow(v caps.Version) reason.Reason {
	switch {
	case p.Encap:
		return reason.PacketEncap
	case !p.IPv6 && p.Fragment:
		return reason.PacketFragment
	case !p.IPv6 && p.Options:
		return reason.PacketOptions
	case p.IPv6 && p.ExtHeader:
		return reason.PacketExtHeader
	case p.Proto != TCP && p.Proto != UDP && p.Proto != GRE, p.Proto == GRE && p.GREVersion != 0:
		return reason.PacketProtocol
	case p.TTL <= 1:
		return reason.PacketTTL
	case p.MTU > 0 && p.Len > p.MTU:
		return reason.PacketTooLong
	case p.Proto == TCP && (p.SYN || p.FINorRST && !closesInFastPath(v)):
		return reason.PacketClosing
	}
	return reason.None
}

// closesInFastPath reports whether the kernel carries FIN and RST in the flowtable. Which version was the first is not
// recorded: 6.12 does not, 6.18 does.
func closesInFastPath(v caps.Version) bool { return v.Known() && v.AtLeast(6, 18) }
