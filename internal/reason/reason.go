// Package reason names everything that this program may say "no" to, and everything it may find, in one enum: why a rule
// is not executed early, why a flow is not offloaded, what a device lacks, what a ruleset loses by offloading. Each has a
// code that stays, a sentence, what to do about it, and where the fact comes from. The package decides nothing: plan,
// lint, caps and the commands do, and say which reason it was.
//
// The code is the interface: programs compare codes, numbers may change between releases. What engine and link say of a
// device that they know they say in words of their own, with a code of here; package datapath knows which number of its
// programs is which reason.
package reason

import (
	"encoding"
	"fmt"
	"math"
)

// Reason is one of the reasons. The zero Reason is None: there is nothing in the way.
type Reason uint16

// None is the absence of a reason.
const None Reason = 0

// Unknown is a reason of another version of the program.
const Unknown Reason = math.MaxUint16

// Scope is what a reason is said of.
type Scope uint8

// The scopes, in the order of docs/reasons.md.
const (
	Rule Scope = iota + 1
	Chain
	Flowtable
	Flow
	Packet
	Device
	Machine
	Lint
	// Of the fast path: what the engine does with a device, what the device can do at XDP, and what the programs say of a
	// packet.
	Use
	XDP
	Carried
	Slow
	Entry
	Seen
)

// Scopes returns every scope in order.
func Scopes() []Scope {
	return []Scope{Rule, Chain, Flowtable, Flow, Packet, Device, Machine, Lint, Use, XDP, Carried, Slow, Entry, Seen}
}

// String returns the scope's name.
func (s Scope) String() string {
	switch s {
	case Rule:
		return "rule"
	case Chain:
		return "chain"
	case Flowtable:
		return "flowtable"
	case Flow:
		return "flow"
	case Packet:
		return "packet"
	case Device:
		return "device"
	case Machine:
		return "machine"
	case Lint:
		return "lint"
	case Use:
		return "use"
	case XDP:
		return "xdp"
	case Carried:
		return "carried"
	case Slow:
		return "slow"
	case Entry:
		return "entry"
	case Seen:
		return "seen"
	default:
		return "unknown"
	}
}

// Info is what there is to say about a reason.
type Info struct {
	Code   string // kebab-case; stays
	Text   string // a sentence without a full stop
	Remedy string // what to do: a command, or what to write instead
	Source string // kernel file and symbol, manual page, RFC or thread
	Kernel string // which kernels it is about; empty: all
}

// All returns every reason but None, scope by scope.
func All() []Reason {
	all := make([]Reason, 0, end-1)
	for r := None + 1; r < end; r++ {
		all = append(all, r)
	}
	return all
}

// Of returns every reason of a scope.
func Of(s Scope) []Reason {
	var of []Reason
	for r := None + 1; r < end; r++ {
		if r.Scope() == s {
			of = append(of, r)
		}
	}
	return of
}

// Parse finds the reason with a code.
func Parse(code string) (Reason, bool) {
	for r := None + 1; r < end; r++ {
		if r.Info().Code == code {
			return r, true
		}
	}
	return None, false
}

// Scope returns what the reason is said of; 0 for None and for numbers that are none.
func (r Reason) Scope() Scope {
	switch {
	case r == None || r >= end:
		return 0
	case r < firstChain:
		return Rule
	case r < firstFlowtable:
		return Chain
	case r < firstFlow:
		return Flowtable
	case r < firstPacket:
		return Flow
	case r < firstDevice:
		return Packet
	case r < firstMachine:
		return Device
	case r < firstLint:
		return Machine
	case r < firstUse:
		return Lint
	case r < firstXDP:
		return Use
	case r < firstCarried:
		return XDP
	default:
		return r.packetScope()
	}
}

// packetScope is the scope of what the programs say.
func (r Reason) packetScope() Scope {
	switch {
	case r == Fast:
		return Carried
	case r < EntryMiss:
		return Slow
	case r < firstSeen:
		return Entry
	default:
		return Seen
	}
}

// Info returns the reason's description; None has the code "none", a number that is no reason "unknown".
func (r Reason) Info() Info {
	switch r.Scope() {
	case Rule:
		return ruleInfo(r)
	case Chain:
		return chainInfo(r)
	case Flowtable:
		return flowtableInfo(r)
	case Flow:
		return flowInfo(r)
	case Packet:
		return packetInfo(r)
	case Device:
		return deviceInfo(r)
	case Machine:
		return machineInfo(r)
	case Lint:
		return lintInfo(r)
	case Use:
		return useInfo(r)
	case XDP:
		return xdpInfo(r)
	case Carried, Slow:
		return slowInfo(r)
	case Entry:
		return entryInfo(r)
	case Seen:
		return seenInfo(r)
	}
	if r == None {
		return Info{Code: "none", Text: "nothing is in the way"}
	}
	return Info{Code: "unknown", Text: "a newer datapath counted this reason", Remedy: "use the same version for daemon and command"}
}

// Advice is the remedy, empty where it is nothing.
func (i Info) Advice() string {
	if i.Remedy == "nothing" {
		return ""
	}
	return i.Remedy
}

// Code returns the stable code.
func (r Reason) Code() string { return r.Info().Code }

// String returns the stable code.
func (r Reason) String() string { return r.Code() }

var (
	_ encoding.TextMarshaler   = None
	_ encoding.TextUnmarshaler = (*Reason)(nil)
)

// MarshalText writes the code.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.Code()), nil }

// UnmarshalText reads a code.
func (r *Reason) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*r = None
		return nil
	}
	got, ok := Parse(string(text))
	if !ok {
		return fmt.Errorf("read reason: no reason has the code %q", text)
	}
	*r = got
	return nil
}
