// Package engine keeps the fast path in step with the machine: it reads the ruleset and the devices, decides which
// device runs at which hook and why not, hands the whole desired state to the datapath, and starts a new generation
// whenever something changes that a running flow may depend on.
//
// Who owns what:
//
//	Run            the one goroutine that owns the engine's state: views in, Apply and Sweep out
//	gate           suspends the programs of rules when these change, and lets them go on
//	keeper         puts what transactions do to named sets into the maps of programs
//	bumper         owns the rhythm of Bump, so that a change is in force while a sweep or a listing is under way
//	reader         reads ruleset and devices, one reading at a time; the view it makes is a value
//	care           talks to conntrack: candidates at once, the rest in turn
//
// They share channels, the bumper's counters and the log of problems, nothing else. The package knows no kernel
// interface: those are behind Source, Links, Datapath, Conntrack, Chains, Rules and Sets, which cmd/nft-offload wires to the kernel
// packages, and enginetest to stateful fakes.
package engine
