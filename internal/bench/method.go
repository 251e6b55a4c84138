package bench

import "fmt"

// method says how the figures came about, a sentence each.
func (r *runner) method(m Machine) []string {
	out := []string{
		fmt.Sprintf("Kernel %s, %s, %d cores; sender, router and sink all on core %d. The other cores were busy %.0f %% of the time.",
			m.Kernel, m.CPU, m.Cores, m.Core, 100*m.OthersBusy),
		"Client, router and server are network namespaces joined by veth pairs; the router has examples/router.nft, lowered (flow add becomes a conntrack label): IPv4 is masqueraded, IPv6 routed.",
		fmt.Sprintf("The sender writes %d-byte UDP frames by BPF_PROG_TEST_RUN in live-frames mode, one flow after another in a scattered order, in one direction; the sink counts and drops them in XDP. Each flow was established in both directions first.", frameLen),
		"ns is the time of the core for a packet, sender and sink included (the sender's own cost is a row); time in which the sender waited for other processes is taken out. The paths are measured in turns.",
		fmt.Sprintf("Median of %d rounds; spread is the distance of the quartiles. %s", r.Rounds, r.windows()),
		"Leases are those of a live daemon, whose heartbeat the benchmark gives: a renewal by the slow path is due after 1 s, or later with many flows (20000 renewals a second in all). No daemon sweeps the table meanwhile.",
		fmt.Sprintf("More than %d flows are more than conntrack takes: they are copies of one learned entry, written into the table, and never renewed.", mostLive),
		fmt.Sprintf("Conntrack's hash table is one for all namespaces: %d buckets, at most %d connections in each namespace.", m.ConntrackBuckets, m.ConntrackMax),
	}
	if r.Pairs > 0 {
		out = append(out, fmt.Sprintf("New connections: %d at a time, three packets each (udp: there, back, there; tcp: SYN, SYN/ACK, ACK), with a fresh datapath and without one in turns, after %d that are not measured; median of the ratios of %d pairs, interval by the sign test.", newConnections, warmUp, r.Pairs))
	}
	return out
}

func (r *runner) windows() string {
	if r.Window > 0 {
		return fmt.Sprintf("A round is %s of each path, which is less than a lease.", r.Window)
	}
	return fmt.Sprintf("A round is %s of each path, on ours long enough for one renewal of every flow.", otherWindow)
}
