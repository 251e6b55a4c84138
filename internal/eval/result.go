package eval

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Outcome is what becomes of a packet.
type Outcome string

// The outcomes.
const (
	Accepted Outcome = "accept"
	Dropped  Outcome = "drop"
	Queued   Outcome = "queue"  // handed to a program
	Stolen   Outcome = "stolen" // sent out of another device by `fwd`
	Unknown  Outcome = "unknown"
	// Lost packets are dropped by the network stack between hooks, for instance because their header is malformed.
	Lost Outcome = "lost"
)

// Result is what a ruleset does with one packet.
type Result struct {
	Outcome Outcome
	// Why says more about Unknown and Lost.
	Why     string
	Chains  []ChainResult // base chains met, in order
	Steps   []Step        // rules met, in order
	Missing []Missing     // facts without which the outcome is not known
	// Notes are things done besides the verdict: "dnat to 10.0.0.1", "flow add @f".
	Notes []Note
}

// ChainResult is what a base chain decided.
type ChainResult struct {
	Hook    Hook
	Chain   *ruleset.Chain
	Outcome Outcome
	Policy  bool // no rule decided
	Steps   int  // how many of the steps of the Result are the chain's; they follow those of the chain before
}

// Step is a rule that a packet met.
type Step struct {
	Hook  Hook
	Rule  *ruleset.Rule
	Depth int // of jumps
	// Reached is how many statements were carried out. Matched: all of them, or up to a verdict.
	Reached int
	Matched bool
	// Verdict is what the rule decided: "accept", "drop", "jump x", ...; empty: nothing.
	Verdict string
}

// Note is a side effect.
type Note struct {
	Rule *ruleset.Rule
	Text string
}

// Missing is a fact that a statement needs and that the caller did not give.
type Missing struct {
	Kind  FactKind
	What  string // as nft writes it: "ct state", "meta cpu", "limit"
	Place Place
}

// FactKind is what a missing fact is about.
type FactKind string

// The kinds of facts.
const (
	FactConntrack FactKind = "conntrack"
	FactMeta      FactKind = "meta"
	FactRouting   FactKind = "routing" // where the packet goes, fib and rt
	FactSocket    FactKind = "socket"
	FactRandom    FactKind = "random" // numgen, hashes
	FactState     FactKind = "state"  // limit, quota, ct count: what came before
	FactOpaque    FactKind = "opaque" // a statement that is not understood
)

// Place is one statement of a rule.
type Place struct {
	Family ruleset.Family
	Table  string
	Chain  string
	Index  int // of the rule in its chain
	Stmt   int
}

// String renders the place as "inet filter forward rule 2 statement 1", counted from 1.
func (p Place) String() string {
	return fmt.Sprintf("%s %s %s rule %d statement %d", p.Family, p.Table, p.Chain, p.Index+1, p.Stmt+1)
}
