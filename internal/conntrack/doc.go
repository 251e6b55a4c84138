// Package conntrack talks to the kernel's connection tracking table (ctnetlink, net/netfilter/nf_conntrack_netlink.c).
//
// A connection that the fast path carries shows conntrack about one packet a second. This package is how the daemon
// keeps the entry truthful meanwhile: it sets the per-connection "be liberal" flag before the first fast packet,
// clears the flags that freeze with it, and gives an idle connection its timeout back.
//
// Updates are messages of our own that carry nothing but what they change. Ready-made libraries write the TCP state
// and both window scales along with the flags, which undoes a FIN seen in between and zeroes the scales.
//
// It is not a second implementation of conntrack(8): zone 0 only, no creation of entries, no expectations, no events.
package conntrack
