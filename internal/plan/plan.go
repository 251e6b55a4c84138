package plan

import (
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Tier is where a rule is executed, from the slowest.
type Tier uint8

// The tiers.
const (
	Software Tier = iota // by nftables, as without us
	TC                   // by a generated program at tc ingress, before nftables, after the kernel's GRO
	XDP                  // by a generated program, before the kernel has made a packet of the frame
	Hardware             // by the NIC
)

// String returns the name of the tier.
func (t Tier) String() string { return [...]string{"software", "tc", "xdp", "hardware"}[t] }

// MarshalText implements encoding.TextMarshaler.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Plan is where everything of a ruleset can run on a machine.
type Plan struct {
	Kernel     string       `json:"kernel,omitempty"`
	Chains     []*Chain     `json:"chains"`
	Flowtables []*Flowtable `json:"flowtables"`
	Devices    []*Device    `json:"devices"`

	judged []*judged
}

// Ref names a rule: "netdev filter ingress handle 12".
type Ref struct {
	Family ruleset.Family `json:"family"`
	Table  string         `json:"table"`
	Chain  string         `json:"chain,omitempty"`
	Handle int            `json:"handle,omitempty"`
	Number int            `json:"number,omitempty"` // of the rule in its chain, from 1; 0: the policy
	// Flowtable is the one that is meant where it is no rule.
	Flowtable string `json:"flowtable,omitempty"`
}

// Finding is a reason and what is special about it here.
type Finding struct {
	Reason reason.Reason `json:"reason"`
	Detail string        `json:"detail,omitempty"`
	// Rule is the one that the reason is about, where it is another.
	Rule *Ref `json:"rule,omitempty"`
}

// None reports whether nothing was found.
func (f Finding) None() bool { return f.Reason == reason.None }

// Chain is a chain and its rules.
type Chain struct {
	Family   ruleset.Family `json:"family"`
	Table    string         `json:"table"`
	Name     string         `json:"name"`
	Hook     string         `json:"hook,omitempty"` // empty for a regular chain
	Type     string         `json:"type,omitempty"`
	Priority int            `json:"priority,omitempty"`
	Policy   string         `json:"policy,omitempty"`
	Devices  []string       `json:"devices,omitempty"`
	// Finding is why no rule of the chain can run early; none where some may.
	Finding *Finding `json:"finding,omitempty"`
	// Kernel is why the kernel's `flags offload` would refuse the chain as a whole.
	Kernel []Finding `json:"kernel-offload,omitempty"`
	Rules  []*Rule   `json:"rules"`
	// PolicyAt is where a policy of drop is executed; empty for any other.
	PolicyAt []Placement `json:"policy-at,omitempty"`
}

// Rule is a rule and where it runs.
type Rule struct {
	Handle int    `json:"handle,omitempty"` // 0 in rulesets that were never loaded
	Number int    `json:"number"`           // from 1
	Text   string `json:"text"`             // nft's own syntax
	// At has one member where all devices agree.
	At []Placement `json:"at"`
	// Kernel is why the kernel's `flags offload` would refuse the rule; none in chains that it does not know.
	Kernel *Finding `json:"kernel-offload,omitempty"`
}

// Placement is where a rule runs on some devices, and why not further down.
type Placement struct {
	Devices []string `json:"devices,omitempty"`
	Tier    Tier     `json:"tier"`
	// Finding is why the tier is not a faster one; none for hardware.
	Finding Finding `json:"finding"`
	// Hardware is why not in hardware, of a rule at XDP or tc. Where neither works, Finding is why not at the device's
	// hook; of a rule at tc, why the hook is not XDP.
	Hardware *Finding `json:"hardware,omitempty"`
	// Note is what is special about the tier here.
	Note *Finding `json:"note,omitempty"`
	// Filters is the number of hardware rules.
	Filters int `json:"filters,omitempty"`
}

// Device is a device that the ruleset names and what it can do for rules.
type Device struct {
	Name    string `json:"name"`
	Profile string `json:"profile,omitempty"`
	// Hook is where programs execute rules: "xdp", "tc", or empty for nowhere.
	Hook string `json:"hook,omitempty"`
	// XDP and Hardware are why the tier is not there; none where it is. TC is why it is not there where XDP is not, either.
	XDP      Finding `json:"xdp"`
	TC       Finding `json:"tc,omitzero"`
	Hardware Finding `json:"hardware"`
}

// Options are what a caller wants of a plan.
type Options struct {
	// NoHardware leaves hardware out.
	NoHardware bool
	// Hooks are the hooks that the user chose for devices: "xdp", "tc" or "off".
	Hooks map[string]string
	// SetsChange asks for a plan that stays right whatever elements named sets are given later.
	SetsChange bool
}
