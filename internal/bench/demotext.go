package bench

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes the report for people, in lines of at most 80 characters.
func (r DemoReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s %-4s %-5s %9s %7s %8s %10s %8s\n",
		"PATH", "", "", "NS/PACKET", "MPPS", "X SLOW", "X REDIRECT", "FAST")
	for i, row := range r.Rows {
		if i > 0 && (r.Rows[i-1].Family != row.Family || r.Rows[i-1].Proto != row.Proto) {
			fmt.Fprintln(&b)
		}
		raw := ""
		if v := r.redirect(row); v > 0 && row.Path != PathRaw {
			raw = fmt.Sprintf("%.2f", row.NsPerPacket/v)
		}
		fast := ""
		if row.Path == PathTC || row.Path == PathXDP {
			fast = fmt.Sprintf("%.1f%%", 100*row.FastShare)
		}
		fmt.Fprintf(&b, "%-13s %-4s %-5s %9.0f %7.2f %8.2f %10s %8s\n", row.Path, row.Family, row.Proto,
			row.NsPerPacket, row.Mpps, row.RatioToSlow, raw, fast)
	}
	fmt.Fprintln(&b)
	writeChecks(&b, r.Checks)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeChecks(b *strings.Builder, checks []Check) {
	for _, c := range checks {
		verdict := "ok    "
		if !c.OK {
			verdict = "FAILED"
		}
		wrap(b, "", fmt.Sprintf("%s %s: %s", verdict, c.Name, c.Detail))
	}
}

// redirect is what a bare redirect of the same packets costs, ns a packet; 0 when not measured.
func (r DemoReport) redirect(like DemoRow) float64 {
	for _, row := range r.Rows {
		if row.Path == PathRaw && row.Family == like.Family && row.Proto == like.Proto {
			return row.NsPerPacket
		}
	}
	return 0
}
