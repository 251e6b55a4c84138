package plan

import (
	"fmt"
	"strings"
)

// Dot renders the plan as a picture for Graphviz: hooks, chains, and rules in the color of their tier.
func (p *Plan) Dot() string {
	var b strings.Builder
	b.WriteString("digraph plan {\n\trankdir=LR;\n\tnode [shape=box, fontname=monospace, fontsize=10];\n")
	hooks := map[string]bool{}
	for i, c := range p.Chains {
		p.dotChain(&b, i, c, hooks)
	}
	for i, f := range p.Flowtables {
		fmt.Fprintf(&b, "\tf%d [shape=cylinder, label=%s];\n", i, quote("flowtable "+f.Name+"\n"+flowDevices(f)))
		for _, a := range f.Adds {
			if c := p.index(a.Rule); c >= 0 {
				fmt.Fprintf(&b, "\tc%d -> f%d [label=%s];\n", c, i, quote("flow add, "+a.Rule.place()))
			}
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func (p *Plan) dotChain(b *strings.Builder, i int, c *Chain, hooks map[string]bool) {
	if c.Hook != "" {
		if !hooks[c.Hook] {
			hooks[c.Hook] = true
			fmt.Fprintf(b, "\t%s [shape=ellipse];\n", quote(c.Hook))
		}
		fmt.Fprintf(b, "\t%s -> c%d [label=%s];\n", quote(c.Hook), i, quote(fmt.Sprint(c.Priority)))
	}
	fmt.Fprintf(b, "\tc%d [shape=plain, label=<<table border=\"0\" cellborder=\"1\" cellspacing=\"0\">\n", i)
	head := fmt.Sprintf("%s %s %s", c.Family, c.Table, c.Name)
	if len(c.Devices) > 0 {
		head += " on " + strings.Join(c.Devices, " ")
	}
	fmt.Fprintf(b, "\t\t<tr><td colspan=\"2\"><b>%s</b></td></tr>\n", escape(head))
	for n, r := range c.Rules {
		if n == mostDrawn {
			fmt.Fprintf(b, "\t\t<tr><td colspan=\"2\">and %d more</td></tr>\n", len(c.Rules)-n)
			break
		}
		fmt.Fprintf(b, "\t\t<tr><td bgcolor=\"%s\">%s</td><td align=\"left\">%s</td></tr>\n", color(r.Tier()), r.Tier(), escape(cut(r.Text)))
	}
	b.WriteString("\t</table>>];\n")
}

// mostDrawn bounds the rules of a chain that are drawn.
const mostDrawn = 100

func color(t Tier) string {
	return [...]string{"lightgray", "lightcyan", "lightblue", "palegreen"}[t]
}

// cut shortens the text of a rule to what can be read in a picture.
func cut(s string) string {
	const most = 70
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func flowDevices(f *Flowtable) string {
	var parts []string
	for _, d := range f.Devices {
		parts = append(parts, d.Name)
	}
	return strings.Join(parts, " ")
}

// index is the place of a rule's chain in the plan, or -1.
func (p *Plan) index(r Ref) int {
	for i, c := range p.Chains {
		if c.Family == r.Family && c.Table == r.Table && c.Name == r.Chain {
			return i
		}
	}
	return -1
}

// quote is a string of the DOT language.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// escape is text in a label of HTML kind.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
