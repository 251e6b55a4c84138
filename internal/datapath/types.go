package datapath

import (
	"net"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Hook is where a device's packets are looked up.
type Hook uint8

// The hooks, slowest first.
const (
	HookTC  Hook = 1 // tc ingress: tcx from Linux 6.6, clsact before
	HookXDP Hook = 2 // native XDP, with the tc programs beside it for notes and for flows XDP may not carry
)

// String returns "tc" or "xdp".
func (h Hook) String() string {
	if h == HookXDP {
		return "xdp"
	}
	return "tc"
}

// Device is one network device the datapath runs on, as the caller wants it.
type Device struct {
	Ifindex uint32
	Name    string
	Hook    Hook
	// XDPTarget says that other devices may redirect XDP frames to this one: it implements ndo_xdp_xmit, the
	// frames reach the other side, and no egress qdisc shapes.
	XDPTarget bool
	// PartialChecksums says that frames seen by XDP may carry only the pseudo-header sum (veth, tun, virtio).
	PartialChecksums bool
	// Labels has bit n set when conntrack label n, of a lowered flowtable that lists this device, makes a flow
	// eligible here. Two words, label 0 is bit 0 of the first.
	Labels [2]uint64
	// Flowtable says that the kernel's own flowtable lists this device: IPS_OFFLOAD makes a flow eligible.
	Flowtable bool
	// Bare says that packets have no Ethernet header here (ppp, WireGuard, IPIP, a tun).
	Bare bool
	// Above says that this device only stands on others of the list, as a bridge, a VLAN or a VRF does: nothing is
	// attached, and Hook has no meaning. Packets that came in by one of those may go through this one, and only
	// through those that are listed.
	Above bool
	// Under says that no flowtable lists the device itself, only ones that stand on it: a flow whose packets, as the
	// kernel says, came in by this device (and not by one above) is not meant.
	Under bool
	// Stack is the same for all devices that stand on one another, and differs from that of all others. Not zero.
	Stack uint32
	// Floods says whether packets that leave here may be one of several copies.
	Floods Floods
	// Refused says that no flow may go through here, because it would bypass something that slow packets pass. The
	// observer runs all the same, to say which flows that concerns.
	Refused bool
	// Front runs before ours where it is not nil.
	Front *Front
	// Unlisted says that no flowtable has to do with the device: nothing runs there but Front.
	Unlisted bool
}

// Floods tells of a device whether a bridge may send packets to it and to other ports at once.
type Floods uint8

// The kinds.
const (
	FloodsNot    Floods = iota // no bridge port
	FloodsSeen                 // bridge port, and the other ports of its bridge are in the list themselves
	FloodsUnseen               // bridge port, or below one; copies may leave by devices that are not in the list
)

// Config is what one datapath instance is loaded with. Zero values take the defaults named.
type Config struct {
	Dir        string        // bpffs directory that holds the pins; created, removed by Withdraw
	MaxFlows   uint32        // directions of flows in the table, per family; default 131072
	Due        time.Duration // a renewal is due after this; default 1 s
	Hard       time.Duration // nothing is forwarded after this without a renewal; default 2 s
	MinPackets uint32        // packets of a direction before an entry is made; default 4, at most 255
	Mark       uint32        // with lowering by mark: the bit; 0 for labels
}

// Flow is one direction of a flow in the table.
type Flow struct {
	In, Out  uint32           // ifindex where its packets arrive and leave
	Hook     Hook             // which program may carry it
	Tuple    packet.Tuple     // as it arrives
	NAT      packet.Tuple     // as it leaves
	SrcMAC   net.HardwareAddr // as it leaves
	DstMAC   net.HardwareAddr
	State    State
	Packets  uint64        // carried by the fast path
	Bytes    uint64        // of these, layer 3 bytes
	Slow     uint64        // packets of this direction that the kernel forwarded and the datapath learned from
	Age      time.Duration // since it was learned
	Idle     time.Duration // since its last packet on either path
	Lease    time.Duration // left until the hard limit; zero or less when expired
	MaxLen   uint16        // longest layer 3 packet that may be carried
	Priority uint32        // skb->priority replayed at tc
	Mark     uint32        // skb->mark replayed at tc
	// Missed counts packets that met the entry and went slow all the same, those that renewed it included. MissedWhy
	// and MissedAgo are about the last one; reason.Fast where there was none.
	Missed    uint64
	MissedWhy reason.Reason
	MissedAgo time.Duration
}

// State is what an entry may do.
type State uint8

// The states of an entry.
const (
	StateLearned State = iota // seen, waits for its other direction or (TCP) for BE_LIBERAL
	StateReady                // carries packets while its lease is valid
	StateDead                 // never again; the sweeper deletes it
)

// String returns "learned", "ready" or "dead".
func (s State) String() string {
	switch s {
	case StateLearned:
		return "learned"
	case StateReady:
		return "ready"
	default:
		return "dead"
	}
}

// Counter is packets and layer 3 bytes.
type Counter struct {
	Packets, Bytes uint64
}

// Stats are totals since the datapath was loaded.
type Stats struct {
	Fast         map[Hook]Counter          // carried, by hook
	Slow         Counter                   // handed to the kernel at tc ingress on our devices, TCP and UDP or not
	Reasons      map[reason.Reason]Counter // why packets went slow or taught nothing
	Flows        int                       // entries, both families, all states
	Ready        int
	MaxFlows     int // per family
	BytesPerFlow int // kernel memory of one IPv4 entry
}

// Candidate asks the control plane to set BE_LIBERAL on a TCP connection; both directions, as conntrack keys them.
type Candidate struct {
	Orig, Reply packet.Tuple
}
