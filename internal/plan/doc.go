// Package plan decides where each rule of a ruleset and each flow of its flowtables can run: in hardware, at XDP, or in
// nftables as before. It is a pure function of ruleset, machine and options: Make gives the same bytes for the same
// input, asks no kernel and changes nothing.
//
// A rule of an ingress chain enters as a value of package ruleset and leaves as a Rule with a tier and a reason for each
// device. In between it is one or more entries (a rule that others jump to has one for each way there), each with the
// space of packets that it can match, and what it does to them. An entry may run early only where that cannot be told
// from running in its place: see sound.go, the only place that decides it.
//
// What hardware is asked for is lowered here to filters of tc-flower(8) (flower.go), because the kernel's own chain
// offload refuses most of what people write; what it would refuse is said, too (kernel.go).
package plan
