// Package share holds what of a ruleset's ingress chains runs early on a device: a list of entries that package plan has
// flattened, judged and put in order, and that package bpfgen makes a program of. It is values only.
//
// Executing a share means: go through the entries in order. An entry whose conditions all hold is executed. A packet that
// comes to the end is left to the next stage: the flow table, then the kernel, where nftables executes every rule again,
// those of the share included. So whatever is counted on the way of such a packet must not be kept, and a program that
// cannot tell whether a condition holds leaves the packet to the kernel at once: that is always right.
package share

import (
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Hook is where the program of a share runs. It decides what packets look like.
type Hook uint8

// The hooks.
const (
	// XDP: single frames as the driver received them, tags in the bytes, before GRO.
	XDP Hook = iota
	// TC: tc ingress, the sk_buff that the netdev ingress hook is to see next; the outer tag is beside the bytes.
	TC
)

// String returns "xdp" or "tc".
func (h Hook) String() string { return [...]string{"xdp", "tc"}[h] }

// Share is what runs early on some devices that are alike.
type Share struct {
	Hook    Hook
	Devices []string
	Entries []Entry
	Sets    []Set
	// Whole says that the entries are all that the devices' ingress chains do: a packet that comes to the end has met
	// every rule. Else some rules are the kernel's alone, and no flow may bypass them.
	Whole bool
}

// Ref is the rule that an entry was made of: where it is counted.
type Ref struct {
	Family ruleset.Family
	Table  string
	Chain  string
	Handle int // 0 in rulesets that were never loaded
	Number int // in its chain, from 1; 0: the policy
}

// Entry is a rule on one of the ways that packets come to it.
type Entry struct {
	Rule Ref
	// Conds hold all, or the entry is passed by. None: every packet.
	Conds []Cond
	// Counter says that the rule counts the packets that it is executed for: one, and their bytes as nftables has them
	// at the ingress hook (behind the Ethernet header and the outer tag).
	Counter bool
	// Copy is the device that a copy of the frame is sent out of, unchanged, if the packet ends here or behind; empty:
	// none. At tc only.
	Copy   string
	Ending Ending
	// Device is where Forwards sends the frame, unchanged.
	Device string
	// To is the entry at which Leaves goes on, always behind this one; len(Entries) is the end.
	To int
	// Map is the set, an index of Share.Sets, whose element decides where Ending is Maps; Key is what is looked up.
	// AcceptTo and ReturnTo are where accept and return go on. Without an element the entry is passed by, but its
	// counter, which stands before, has counted.
	Map                int
	Key                []Field
	AcceptTo, ReturnTo int
}

// SendsTo are the devices that frames or copies of them are sent out of.
func (e *Entry) SendsTo() []string {
	var out []string
	if e.Copy != "" {
		out = append(out, e.Copy)
	}
	if e.Ending == Forwards {
		out = append(out, e.Device)
	}
	return out
}

// Ending is what becomes of a packet.
type Ending uint8

// The endings.
const (
	GoesOn   Ending = iota // to the next entry
	Leaves                 // to entry To: accept (the next base chain), return, the end of a goto
	Drops                  // final
	Forwards               // final: out of Device
	Maps                   // as the data of a map's element says
	Unsure                 // left to the kernel at once, as if a condition could not be told: no flow may carry it
)

// Cond is a test of the packet. It fails where the packet has not one of the fields, whatever Not says.
type Cond struct {
	// Fields are what is compared: one, or the components of a concatenation.
	Fields []Field
	// Not turns the comparison round, not the test whether the fields are there.
	Not bool
	// Keys are what the fields are compared with: one of them has to be met. Empty with Named.
	Keys []Key
	// Named says that it is the elements of a named set, which change while the program runs; Set is its index in
	// Share.Sets.
	Named bool
	Set   int
}

// Key is one interval for each field of a condition, both ends included.
type Key []space.Interval

// Field is bits of the packet, as a number in the order in which they are on the wire; or what the kernel knows of it:
// of the fields Beyond a share has space.L3Proto, space.L4Proto, space.Length and space.PacketType, the last two at tc only.
type Field struct {
	At space.Field
	// Mask is the bits that are compared, of At.Len bits. The others count as zero, in Keys as well.
	Mask space.Value
	// Short is how many bits of At the kernel reads at least, from the first; 0: all. Of a packet that ends behind these
	// and before the end of At, nothing can be told.
	Short int
}

// Set is a named set or map of the ruleset.
type Set struct {
	Family ruleset.Family
	Table  string
	Name   string
	// Parts are the components of a key: one, or several for a concatenation.
	Parts []Part
	// Ranges says that elements may be intervals (flag interval).
	Ranges bool
	// Verdicts says that the set is a verdict map, whose elements have one of accept, drop, return, continue.
	Verdicts bool
	// Size is the most elements that the ruleset allows; 0: no limit of its own.
	Size int
	// Elems are the elements at the time of the plan, in no order. They may overlap only as nftables lets them.
	Elems []Elem
}

// Part is one component of the keys of a set: how many bits it has, and how the kernel holds them.
type Part struct {
	Bits int
	// Host says that the kernel's registers, and so netlink, have it in the machine's byte order.
	Host bool
}

// Elem is an element of a set.
type Elem struct {
	Key     Key
	Verdict ruleset.VerdictKind // of a verdict map
	// Expires is the time left, in milliseconds; 0: for ever.
	Expires int
}
