package bench

import "fmt"

// method says how the figures came about, a sentence each.
func (r *rulesRunner) method(m Machine) []string {
	return []string{
		fmt.Sprintf("Kernel %s, %s, %d cores; sender and receiver both on core %d. The other cores were busy %.0f %% of the time.",
			m.Kernel, m.CPU, m.Cores, m.Core, 100*m.OthersBusy),
		fmt.Sprintf("Sender and firewall are network namespaces joined by a veth pair. The sender writes %d-byte UDP frames by BPF_PROG_TEST_RUN in live-frames mode; all are dropped: by the last rule of the chain, which is the worst case for nftables, or by the elements of the set in turns, in a scattered order.", frameLen),
		"The chain is loaded on every path: nft-ingress is the kernel evaluating it; xdp and tc are the program that was generated for it; xdp-drop-all drops without a look; sender writes the frames and sends none.",
		"exact: `ip saddr A udp dport P`; prefix: eleven lengths; range: of source addresses; mixed: exact, prefix, port range, `ip daddr A tcp dport P` and `ether saddr M` in turns; set: one rule, `ip saddr @s`, of exact addresses, prefixes or ranges. All rules count and drop.",
		"ns is the time of the core for a packet, sender and veth included, as BPF_PROG_TEST_RUN and the scheduler (ksoftirqd) say. Paths are measured in turns. Ratios are of these times; those in brackets (own) are of what is left of them without the sender's row, and are not judged.",
		fmt.Sprintf("Median of %d rounds of %s, %d frames at least; spread is the distance of the quartiles. Where the whole would take longer than %s, chains have %d rounds (cut).", r.Rounds, r.Window, leastFrames, r.planned, leastRounds),
		"Before a row is measured, frames that hit rules all over the chain and frames that miss are sent, with the first of those that are measured: verdicts and counters of the kernel and of the program have to be those that package eval says. A row of which they are not is not shown, nor one whose rules did not count every frame that was measured.",
		"memory is what the kernel charges for maps and programs (of nftables nobody can say). load: the chain from nothing, with the elements of the set; reload: the same rules again while packets flow, from nft's listing to the swap; element: from the kernel's commit to the effect on frames.",
	}
}
