// Package eval says what nftables does with a packet: the verdict of a ruleset, the rules that the packet meets on its
// way, and what their counters count. It is the reference that other packages are tested against, so it is written for
// being right and readable, not for speed, and it shares no matching code with what it judges. It is itself tested
// against the kernel (test/eval).
//
// A ruleset and packets go in, Results come out. The package knows no machine: what a rule asks that is neither in the
// frame nor among the facts of the Packet is not guessed. The Result is then unknown and says which fact is missing.
package eval

import (
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Packet is a frame and what the kernel knows about it when it arrives, or when it is sent. Pointers that are nil are
// facts that are not known.
type Packet struct {
	// Frame is the frame from its Ethernet header on, VLAN tags in the bytes, without a frame check sequence.
	Frame []byte
	// Bare says that Frame begins with the IP header: the device has no link header (PPP, tun, WireGuard).
	Bare bool
	// In and Out are the devices; nil where there is none. Out of a forwarded packet is known to the routing decision.
	In, Out *Device
	// Route says which hooks the packet comes to.
	Route Route

	Mark, Priority uint32
	// Type is skb->pkt_type. When it is nil, the destination address of the frame says: broadcast and multicast, and
	// with In.MAC this host or another.
	Type   *uint8
	CPU    *uint32
	Time   *time.Time // of `meta time`, `day` and `hour`; its zone is that of the kernel
	UID    *uint32    // of the socket
	GID    *uint32
	Cgroup *uint32
	// NoSocket says that no socket belongs to the packet, which is usual before the input hook.
	NoSocket bool

	// CT is what connection tracking says from its hook on. nil: not known.
	CT *Conntrack
	// FIB are results of routing lookups, by flags and result as nft writes them: "saddr . iif oif": "eth0". Empty is a
	// lookup that found nothing.
	FIB map[string]string
}

// Device is a device a packet passes.
type Device struct {
	Name  string
	Index uint32      // 0: any; the evaluator then tells devices apart by name
	Type  uint16      // ARPHRD_*, 0: Ethernet
	Group uint32      // ip link set ... group
	MAC   *packet.MAC // nil: not known
	Kind  string      // rtnl_link_ops.kind: "veth", "vlan"
	// Bridge is the bridge that the device is a port of, nil for none.
	Bridge *Device
}

// arphrdEther is ARPHRD_ETHER (include/uapi/linux/if_arp.h).
const arphrdEther = 1

func (d *Device) arphrd() uint16 {
	if d.Type == 0 {
		return arphrdEther
	}
	return d.Type
}

// Route is what happens to a packet between prerouting and postrouting.
type Route uint8

// The routes. A packet of RouteUnknown is evaluated up to prerouting.
const (
	RouteUnknown Route = iota
	RouteInput         // to this host
	RouteForward       // through this host
	RouteOutput        // from this host
	RouteBridge        // from port to port of a bridge
	RouteIngress       // only the ingress hook is asked
)

// Conntrack is the connection tracking entry of a packet.
type Conntrack struct {
	// State is one of the State bits. With StateInvalid and StateUntracked there is no entry, and the rest is not used.
	State      uint32
	Status     *uint32 // IPS_* bits
	Mark       *uint32
	Labels     *[16]byte // most significant first: label 0 is bit 0 of the last byte
	Reply      *bool     // the packet goes in the reply direction
	Original   *packet.Tuple
	Answer     *packet.Tuple // tuple of the reply direction
	Zone       *uint16
	Helper     *string // empty: none
	Expiration *time.Duration
	// Packets and Bytes of the original and the reply direction.
	Packets, Bytes *[2]uint64
}

// The states of a packet's connection (NF_CT_STATE_BIT, include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	StateInvalid     uint32 = 1
	StateEstablished uint32 = 2
	StateRelated     uint32 = 4
	StateNew         uint32 = 8
	StateUntracked   uint32 = 64
)

// entry reports whether there is an entry at all.
func (c *Conntrack) entry() bool { return c.State&(StateInvalid|StateUntracked) == 0 }
