// Package bpfgen makes an eBPF program of a share: of what a ruleset's ingress chains do early on a device. It is pure: the
// instructions are values, and package datapath/rules loads them.
//
// # The journey of a packet
//
// The first chunk asks whether the lease runs (LeaseMap), finds the packet's headers as the kernel is going to (eth_type_trans,
// skb_vlan_untag, nft_set_pktinfo_*), and stores each field that an entry reads as a number in the scratch value, with two
// masks: of the fields that the packet has not, and of those of which nothing can be told. Entries only look at that
// value. A packet that an entry ends is counted and dropped or redirected. All others go on: those that come to the end to
// the flow program, if Options.Next says so; those of which the program cannot tell to the kernel, uncounted.
//
// The verifier does not know what is in a map's value. So to it every packet that comes to an entry is the same packet,
// and a share costs it about two steps an instruction, however the entries branch. Chunks are cut where its limits are (see
// divide) and call each other through ChunkMap; what they have to tell each other is in the scratch value.
//
// # One rule set by hand
//
//	table netdev t {
//		chain c {
//			type filter hook ingress device "eth0" priority 0;
//			ip saddr 192.0.2.1 tcp dport 22 counter drop
//		}
//	}
//
// is a share with one entry of four conditions: meta protocol 0x800, @nh,96,32 0xc0000201, meta l4proto 6, @th,16,16 22.
// Behind the prologue (R6 is the context, R9 the scratch value, in which the fields are from offset 280) its code is
//
//	r1 = *(u32 *)(r9 + absent)       is one of @nh,96,32, meta l4proto, @th,16,16 not there?
//	if r1 & 7 goto next              then nftables would go on with the next rule
//	r1 = *(u64 *)(r9 + protocol)
//	if r1 != 0x800 goto next
//	r1 = *(u64 *)(r9 + 280)          @nh,96,32
//	if w1 != 0xc0000201 goto next
//	r1 = *(u32 *)(r9 + doubt)        an IPv6 header chain too long to follow?
//	if r1 & 1 goto leave
//	r1 = *(u64 *)(r9 + 288)          meta l4proto
//	if r1 != 6 goto next
//	r1 = *(u32 *)(r9 + doubt)        a later fragment, where transport loads read whatever is there?
//	if r1 & 4 goto leave
//	r1 = *(u64 *)(r9 + 296)          @th,16,16
//	if r1 != 22 goto next
//	r1 = 1                           its counter's slot, and 1
//	goto drop
//
// With a thousand such rules, none of which leaves a packet to another of them (segment.go), the first two and the conditions
// that all of them have are written once; address and port are put together to a key of two words, and one lookup in a
// hash of a thousand keys says which is the first rule that matches: its place is the counter's slot. Rules of other
// shapes in between have lookups of their own, in the order of their first rules, and the search ends when no rule that is
// left can be before the one that was found.
//
// # What it is not for
//
// It judges nothing: that a rule may run early, and that nobody notices, is what package plan has found.
package bpfgen
