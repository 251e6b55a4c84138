package caps

import (
	"cmp"
	"fmt"
	"strings"
)

// ProfileTable renders profiles as text for people: one block each.
func ProfileTable(ps []Profile) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Text())
	}
	return b.String()
}

// Text renders the profile as a block of lines.
func (p Profile) Text() string {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-14s %s\n", label, value)
		}
	}
	fmt.Fprintf(&b, "%s: %s\n", p.Name, p.Title)
	line("drivers", p.driversText())
	line("flower keys", cmp.Or(p.Keys.String(), "none"))
	line("actions", cmp.Or(p.Actions.String(), "none"))
	line("chain offload", p.Chain.text()+dash(p.WhyChain))
	line("flowtable", p.Flowtable.String())
	line("act_ct", p.Conntrack.String())
	line("xdp", p.XDP.String())
	line("hw-tc-offload", cmp.Or(string(p.HWTCOffload), "not known"))
	for i, c := range p.Conditions {
		label := ""
		if i == 0 {
			label = "conditions"
		}
		line(label, fmt.Sprintf("%s: %s", c, c.Text()))
	}
	line("source", fmt.Sprintf("%s (Linux %s)", strings.Join(p.Sources, ", "), p.Kernel.Number()))
	return b.String()
}

func (p Profile) driversText() string {
	s := strings.Join(p.Drivers, ", ")
	if p.Mode != "" {
		s += fmt.Sprintf(" (%s)", p.Mode)
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (s Support) text() string { return cmp.Or(string(s), "unknown") }

// String names the features, with a space between two.
func (x XDP) String() string {
	switch {
	case !x.Known:
		return "unknown"
	case len(x.Features) == 0:
		return "none"
	}
	names := make([]string, 0, len(x.Features))
	for _, f := range x.Features {
		names = append(names, string(f))
	}
	return strings.Join(names, " ")
}
