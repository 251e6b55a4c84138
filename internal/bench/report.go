package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Report is what a benchmark found.
type Report struct {
	Rows        []Row         `json:"rows"`
	Connections []Connections `json:"new_connections"`
	// BytesPerFlow is the kernel memory of one direction of a flow, by family.
	BytesPerFlow map[string]int `json:"bytes_per_flow"`
	Targets      []Target       `json:"targets"`
	Machine      Machine        `json:"machine"`
	Method       []string       `json:"method"`
}

// textWidth is how long lines are at most, in characters.
const textWidth = 80

// WriteText writes the report for people, in lines of at most 80 characters.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-4s %7s %8s %7s %7s %7s %7s %7s\n",
		"PATH", "", "FLOWS", "NS", "MPPS", "SPREAD", "X SLOW", "FAST", "LOST")
	for i, row := range r.Rows {
		if i > 0 && (r.Rows[i-1].Flows != row.Flows || r.Rows[i-1].Family != row.Family) {
			fmt.Fprintln(&b)
		}
		r.writeRow(&b, row)
	}
	r.writeConnections(&b)
	for _, f := range slices.Sorted(maps.Keys(r.BytesPerFlow)) {
		fmt.Fprintf(&b, "memory: %d bytes a direction of a flow, %s\n", r.BytesPerFlow[f], f)
	}
	r.writeTargets(&b)
	fmt.Fprintln(&b, "\nHow it was measured")
	for _, m := range r.Method {
		wrap(&b, "  ", m)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) writeRow(b *strings.Builder, row Row) {
	ratio, fast := "", ""
	if slow, ok := r.find(PathSlow, row.Family, row.Flows); ok && row.Path != PathSender {
		ratio = fmt.Sprintf("%.2f", slow.NsPerPacket/row.NsPerPacket)
	}
	if row.Path == PathTC || row.Path == PathXDP {
		fast = fmt.Sprintf("%.1f%%", 100*row.FastShare)
	}
	fmt.Fprintf(b, "%-12s %-4s %7d %8.1f %7.2f %6.1f%% %7s %7s %6.2f%%\n", row.Path, row.Family, row.Flows,
		row.NsPerPacket, row.Mpps, 100*row.Spread, ratio, fast, 100*row.LostShare)
	if row.Failed == "" {
		return
	}
	wrap(b, "  ", "FAILED: "+row.Failed+": "+why(row.Reasons))
}

func (r Report) writeConnections(b *strings.Builder) {
	if len(r.Connections) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-24s %10s %10s %7s  %s\n", "NEW CONNECTIONS A SECOND", "WITHOUT", "WITH", "RATIO", "INTERVAL")
	for _, c := range r.Connections {
		fmt.Fprintf(b, "%-24s %10.0f %10.0f %7.3f  %.3f to %.3f (%.1f %%)\n", c.Proto+", "+c.Hook, c.Without, c.With,
			c.Ratio, c.Low, c.High, 100*c.Confidence)
	}
	fmt.Fprintln(b)
}

func (r Report) writeTargets(b *strings.Builder) {
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%-32s %8s %12s\n", "TARGET", "MEASURED", "LIMIT")
	for _, t := range r.Targets {
		bound, verdict := "at least", "ok"
		if t.AtMost {
			bound = "at most"
		}
		if !t.OK {
			verdict = "MISSED"
		}
		if t.Own != 0 {
			verdict += fmt.Sprintf(" (own %.2f)", t.Own)
		}
		fmt.Fprintf(b, "%-32s %8.2f %7s %4.2f  %s\n", t.Name, t.Value, bound, t.Limit, verdict)
	}
}

func (r Report) find(path, family string, flows int) (Row, bool) {
	for _, row := range r.Rows {
		if row.Path == path && row.Family == family && row.Flows == flows {
			return row, true
		}
	}
	return Row{}, false
}

// wrap writes text in lines of at most textWidth, the second and later ones indented further.
func wrap(b *strings.Builder, indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > textWidth {
			fmt.Fprintln(b, line)
			line = indent + "  "
		} else if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, line)
}
