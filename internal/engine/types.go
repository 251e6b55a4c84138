package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// Hook is where a device's packets are looked up.
type Hook string

// The hooks. Off is a device that the user or a reason keeps on the slow path.
const (
	Off Hook = "off"
	TC  Hook = "tc"
	XDP Hook = "xdp"
)

// Choices are what the user said about devices, by name. A device without a choice is decided by the engine.
type Choices map[string]Hook

// Set reads one choice, "eth0=xdp".
func (c Choices) Set(s string) error {
	name, hook, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not DEVICE=HOOK, for example eth0=xdp", s)
	}
	switch h := Hook(hook); h {
	case Off, TC, XDP:
		c[name] = h
		return nil
	}
	return fmt.Errorf("%q is not a hook: use xdp, tc or off", hook)
}

// Change is one thing that happened on the machine. It starts a new generation, unless it is quiet.
type Change struct {
	What string // for the log: "route 10.0.0.0/8 removed"
	// Reread says that the ruleset or the devices may be other than they were; false for routes, rules, addresses
	// and neighbors, which the datapath learns anew by itself.
	Reread bool
	// Quiet says that packets go the way they went, unless the reading finds that a device is to be used otherwise:
	// then applying that starts the generation. Scripts that adapt a shaper's rate change it several times a second.
	Quiet bool
	// Gone is the ifindex of a device that went away; another may come back with the same number.
	Gone uint32
	// Link is the ifindex of a device that has changed, or 0.
	Link uint32
	// Rules says that rules which run early may be other than they were.
	Rules bool
	// Elements is what happened to the sets that were subscribed to, in a transaction that led to this Generation of the
	// ruleset.
	Elements   []element.Change
	Generation uint32
	// Lost says that changes were missed, of elements too.
	Lost bool
}

// Link is a network device as far as the decision needs it.
type Link struct {
	Ifindex    uint32
	Name       string
	Kind       string // "veth", "bridge", "vlan", ...; empty for hardware and loopback
	Driver     string
	MTU        uint32 // bytes behind the Ethernet header
	Loopback   bool
	Ethernet   bool   // carries Ethernet frames
	Physical   bool   // hardware is behind it
	Master     string // bridge, bond or VRF it is a port of; empty for none
	MasterKind string
	// Lower is the device that a VLAN, macvlan or switch port stands on; empty for none, and where that one is in
	// another network namespace.
	Lower        string
	VLAN         uint16 // its tag
	VLANProtocol string // "802.1Q" or "802.1ad"
	Filtering    bool   // a bridge that looks at VLAN tags
	PointToPoint bool   // all packets go to one other end
	External     bool   // a tunnel that takes each packet's destination from its route
	// XDP is why native XDP may not look up frames that arrive here, XDPTarget why XDP redirects may not leave
	// here. The zero Reason: they may.
	XDP, XDPTarget Reason
	// Filters are other people's tc filters and tcx programs, as text.
	Filters []string
	// XDPPrograms are other people's XDP programs, as text.
	XDPPrograms []string
	// Qdisc is the root qdisc, where packets that do not pass it would miss something; else empty.
	Qdisc string
}

// Device is a device the datapath has to run on.
type Device struct {
	Ifindex uint32
	Name    string
	Hook    Hook // TC or XDP; no meaning for Above
	// XDPTarget says that XDP redirects may leave here.
	XDPTarget bool
	// PartialChecksums says that frames seen by XDP may carry an unfinished checksum: a program and not a wire
	// sends them.
	PartialChecksums bool
	// Labels are those of the lowered flowtables that list the device or one that stands on it; with Above, that list
	// the device or one that it stands on.
	Labels handover.Labels
	// Flowtable says the same of flowtables of the kernel.
	Flowtable bool
	// Bare says that packets have no Ethernet header.
	Bare bool
	// Above says that nothing is attached: packets of the device are looked up on others of the list.
	Above bool
	// Under says that no flowtable lists the device itself, only ones that stand on it: packets that have not come in
	// by one of those are not meant.
	Under bool
	// Stack is the same for all devices that stand on one another: the smallest interface index among them.
	Stack uint32
	// Floods says whether what leaves here may be one of several copies.
	Floods Floods
	// Refused says that fast packets would bypass something: they are watched, and nothing is carried.
	Refused bool
	// Early is the key of the program of rules that runs first here, of Desired.Early; empty for none. EarlyHook is
	// where.
	Early     string
	EarlyHook Hook
	// Unlisted says that no flowtable has to do with the device: only the program of rules runs there.
	Unlisted bool
}

// Desired is the whole state the datapath has to be in. The zero value: on no device.
type Desired struct {
	Devices []Device
	// Mark is the conntrack mark bit that the ruleset was lowered with; 0 for labels.
	Mark uint32
	// Early are the programs of rules, by key. Those of the same key are the same.
	Early map[string]*Early
	// Exist are all rules of ingress chains: of others no counters need to be kept. Nil: not known.
	Exist map[RuleID]bool
}

func (d Desired) equal(o Desired) bool { return d.Mark == o.Mark && slices.Equal(d.Devices, o.Devices) }

// without returns the state less the devices that refused.
func (d Desired) without(refusals []Refusal) Desired {
	d.Devices = slices.DeleteFunc(slices.Clone(d.Devices), func(dev Device) bool {
		return slices.ContainsFunc(refusals, func(r Refusal) bool { return r.Device == dev.Name })
	})
	return d
}

// Refusal is a device that the datapath could not attach to.
type Refusal struct {
	Device string
	Hook   Hook // what was attempted
	Busy   bool // somebody else's program is in the way
	Gone   bool // no such device any more
	Err    error
	// Rules says that it was the program of its rules that could not be loaded: nothing was changed on any device. Said
	// is what the kernel's verifier said.
	Rules bool
	Said  string
}

// Counted is what the programs of rules have counted.
type Counted struct {
	Rules   map[RuleID]Counter
	Devices map[string]EarlyPackets // by name
}

// Sweep is what one pass over the table found.
type Sweep struct {
	Entries, Deleted int
	Live             []Activity
}

// Activity is one direction of a flow that is in the table.
type Activity struct {
	Conntrack uint64 // the same for both directions
	Tuple     packet.Tuple
	Dead      bool
	Idle      time.Duration
	Bytes     uint64 // carried by the fast path
}
