// Package bench measures what the fast path brings, and shows it: a client, a router and a server in network
// namespaces of their own, frames through them, and the cost of a packet by path.
//
// The journey of a measured frame, all on one pinned core:
//
//	BPF_PROG_TEST_RUN in live-frames mode (generator.go) writes a frame and redirects it into c0
//	→ r0 of the router, where XDP, tc or the kernel forwards it to r1
//	→ s0 of the server, where an XDP program counts and drops it (sink.go)
//
// A veth pair delivers on the core of the sender, so the wall clock of that core is the sum of sender, router and
// sink; the sender is measured alone too. Nothing here is for tests: they have testkit, and check bytes.
package bench
