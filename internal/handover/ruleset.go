// Package handover holds what the flow fast path needs to know of an nftables ruleset, as values: flowtables (real and
// lowered), base chains and their devices, and who uses conntrack labels and marks. Decode reads the output of
// `nft -j list ruleset` (libnftables-json(5)); what it does not know it leaves out, it never fails on it.
// The package is pure: no commands, no sockets. It does not evaluate rules.
package handover

import (
	"slices"
	"strings"
)

// Ruleset is a ruleset as far as the flow fast path looks at it. Slices are in the order of the listing.
type Ruleset struct {
	Flowtables []Flowtable
	Chains     []Chain // base chains only
	// Labels are the conntrack label bits that rules may use, the lowered flowtables' own included. It errs on the
	// side of too many: every number that could be a label in a rule that mentions labels counts.
	Labels Labels

	rules []rule
}

// Flowtable is a flowtable of the kernel, or the set that stands for one where it was lowered.
type Flowtable struct {
	Family, Table, Name string
	Devices             []string // sorted; see Names
	Hook                string   // "ingress"
	Priority            string   // as nft prints it: a number, or for a lowered one the text of the file
	Flags               []string // "offload", "counter"; sorted
	Lowered             bool
	// Labels are the conntrack label bits that make a flow belong to a lowered flowtable, one for each `flow add` rule.
	Labels Labels
	// Mark is the conntrack mark bit that does the same where the ruleset was lowered with a mark; else 0.
	Mark uint32
}

// LoweredComment begins the comment of the set that stands for a lowered flowtable.
// The flowtable's own settings follow it as "; key=value", for instance "; priority=0; flags=offload".
const LoweredComment = "nft-offload lowered flowtable"

// PassChain is the chain that a lowered ruleset jumps to with packets of a flow that has been taken. A rule that
// matches a lowered flowtable's devices and one label bit (or the mark), and jumps there, ties the bit to it.
const PassChain = "nft_offload_pass"

// AddChain begins the names of the chains that stand for single `flow add` statements.
const AddChain = "nft_offload_add_"

// Chain is a base chain.
type Chain struct {
	Family, Table, Name string
	Type, Hook, Policy  string
	Priority            int
	Devices             []string // of netdev chains and inet ingress chains; sorted
	Rules               int      // number of rules in it
}

// Ingress returns the base chains that a packet carried by the fast path from or to the device would skip at the
// device: family netdev (ingress and egress), and inet ingress. Empty chains with policy accept are left out.
func (r Ruleset) Ingress(device string) []Chain {
	return r.chains(func(c Chain) bool {
		return c.onDevice() && slices.ContainsFunc(c.Devices, func(d string) bool { return Names(d, device) })
	})
}

// Names reports whether a device of a listing means this one: itself, or with an asterisk at the end all whose names
// begin so (since Linux 6.16).
func Names(listed, device string) bool {
	if prefix, ok := strings.CutSuffix(listed, "*"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return listed == device
}

// Bridge returns the base chains of family bridge that do something.
func (r Ruleset) Bridge() []Chain {
	return r.chains(func(c Chain) bool { return c.Family == "bridge" })
}

func (r Ruleset) chains(keep func(Chain) bool) []Chain {
	var out []Chain
	for _, c := range r.Chains {
		if keep(c) && (c.Rules > 0 || c.Policy == "drop") {
			out = append(out, c)
		}
	}
	return out
}

// onDevice reports whether the chain's hook is one of a device and not of a protocol.
func (c Chain) onDevice() bool {
	return c.Family == "netdev" || c.Hook == "ingress" || c.Hook == "egress"
}
