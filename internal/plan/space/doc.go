// Package space holds sets of packets that a rule can match: a conjunction over fields of the packet, each with the
// values that it may have. A space is never too small: every packet that the rule matches is in it, and Exact says that
// no other is. Package plan asks it one question, whether two rules can match the same packet (Disjoint), and may only
// believe the answer yes.
//
// A field is a place in a header (`ip saddr` and `@nh,96,32` are one field) or something that nftables knows about the
// packet (meta, ct). What an expression implies is part of the space: `tcp dport 22` has l4proto tcp in it.
//
// The package evaluates nothing (package eval does) and shares no matching code with it, so that each can be tested
// against the other.
package space
