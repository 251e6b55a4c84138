package bench

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes the report for people, in lines of at most 80 characters.
func (r ShapedReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %-13s %7s %7s %10s %8s %8s %7s %7s\n",
		"PATH", "CLASS", "MBIT/S", "FAST", "NS/PACKET", "IDLE", "BUSY", "X IDLE", "P99 X")
	for i, p := range r.Paths {
		if i > 0 {
			fmt.Fprintln(&b)
		}
		for _, c := range p.Classes {
			fmt.Fprintf(&b, "%-5s %-13s %7.1f %7s %10s %8.0f %8.0f %7.1f %7.1f\n", p.Path, c.Class, c.BitsPerSecond/1e6, "", "",
				c.Idle.Median, c.Loaded.Median, c.Loaded.Median/c.Idle.Median, c.Loaded.P99/c.Idle.P99)
		}
		fast := ""
		if p.Path != PathSlow {
			fast = fmt.Sprintf("%.1f%%", 100*p.FastShare)
		}
		fmt.Fprintf(&b, "%-5s %-13s %7.1f %7s %10.0f\n", p.Path, fmt.Sprintf("of %d Mbit/s", r.Limit/1_000_000), p.BitsPerSecond/1e6, fast, p.NsPerPacket)
	}
	fmt.Fprintln(&b)
	wrap(&b, "", "IDLE and BUSY: round trip of a thin flow in that class, alone and beside an upload in the class bulk; median, in microseconds.")
	fmt.Fprintln(&b)
	writeChecks(&b, r.Checks)
	_, err := io.WriteString(w, b.String())
	return err
}
