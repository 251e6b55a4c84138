package bench

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes the report for people, in lines of at most 80 characters.
func (r RulesDemoReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-8s %9s %7s %7s %8s %8s\n", "PATH", "TRAFFIC", "NS/PACKET", "MPPS", "X NFT", "AT XDP", "ARRIVED")
	for i, row := range r.Rows {
		if i > 0 && r.Rows[i-1].Path != row.Path {
			fmt.Fprintln(&b)
		}
		fmt.Fprintf(&b, "%-12s %-8s %9.0f %7.2f %7.2f %7.1f%% %7.1f%%\n", row.Path, row.Traffic, row.NsPerPacket, row.Mpps,
			row.RatioToNFT, 100*row.DroppedAt, 100*row.Arrived)
	}
	fmt.Fprintf(&b, "\nA blocklist of %d prefixes, changed while its traffic flows (ms after the commit):\n", r.Prefixes)
	for _, c := range r.Changes {
		program := ""
		if c.ProgramMs > 0 {
			program = fmt.Sprintf(", at XDP %.1f", c.ProgramMs)
		}
		fmt.Fprintf(&b, "  nft %s\n    effect %.1f%s; nft took %.0f\n", c.Command, c.EffectMs, program, c.CommandMs)
	}
	fmt.Fprintln(&b)
	writeChecks(&b, r.Checks)
	_, err := io.WriteString(w, b.String())
	return err
}
