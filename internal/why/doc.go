// Package why joins what is known of a flow, a device or a rule, and says in one sentence which stage keeps it from the
// fast path, with the evidence and what to do. It is pure: who asks reads conntrack, the datapath, the ruleset and the
// devices, twice where counters matter, and passes the readings in.
//
// The stages are in the order of a flow's life: a rule hands it over, its connection is of a kind and in a state that can
// be carried, its devices are listed and run the programs, both directions are learned, its packets are carried. The first
// stage that does not hold is the answer; hardware and what is carried already come before all of them.
package why
