package bpfgen

import (
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// tell puts into words what members of a segment do.
func (g *generator) tell(ms []member) {
	for _, m := range ms {
		var s Step
		for _, i := range m.entries {
			s.Rules = append(s.Rules, g.share.Entries[i].Rule)
		}
		if m.table == nil {
			s.Text = g.words(&g.share.Entries[m.entries[0]])
		} else {
			s.Text = g.tableWords(m)
		}
		g.steps = append(g.steps, s)
	}
}

func (g *generator) tableWords(m member) string {
	kind := "a search tree"
	if m.table.hash {
		kind = "a hash"
	}
	fs := make([]string, len(m.fields))
	for i, f := range m.fields {
		fs[i] = fieldWords(f)
	}
	text := fmt.Sprintf("look up %s in %s: the first of %d rules", strings.Join(fs, " . "), kind, len(m.entries))
	if len(m.guards) > 0 {
		return g.condsWords(m.guards) + ": " + text
	}
	return text
}

// words is what an entry does.
func (g *generator) words(e *share.Entry) string {
	parts := []string{"every packet"}
	if len(e.Conds) > 0 {
		parts[0] = g.condsWords(e.Conds)
	}
	if e.Counter {
		parts = append(parts, "counter")
	}
	if e.Copy != "" {
		parts = append(parts, "a copy out of "+e.Copy)
	}
	switch e.Ending {
	case share.Drops:
		parts = append(parts, "drop")
	case share.Forwards:
		parts = append(parts, "send out of "+e.Device)
	case share.Leaves:
		parts = append(parts, g.leaveWords(e.To))
	case share.Maps:
		parts = append(parts, fmt.Sprintf("as map %s says", g.share.Sets[e.Map].Name))
	case share.Unsure:
		parts = append(parts, "leave to the kernel")
	case share.GoesOn:
		parts = append(parts, "go on")
	}
	return strings.Join(parts, ": ")
}

func (g *generator) leaveWords(to int) string {
	if to == len(g.share.Entries) {
		return "leave to the end"
	}
	r := g.share.Entries[to].Rule
	return fmt.Sprintf("leave to rule %d of chain %s", r.Number, r.Chain)
}

func (g *generator) condsWords(cs []share.Cond) string {
	parts := make([]string, len(cs))
	for i, c := range cs {
		parts[i] = g.condWords(&c)
	}
	return strings.Join(parts, ", ")
}

func (g *generator) condWords(c *share.Cond) string {
	fs := make([]string, len(c.Fields))
	for i, f := range c.Fields {
		fs[i] = fieldWords(f)
	}
	text := strings.Join(fs, " . ")
	if c.Not {
		text += " not"
	}
	switch {
	case c.Named:
		return text + " in @" + g.share.Sets[c.Set].Name
	case len(c.Keys) == 1:
		return text + " " + keyWords(c.Keys[0])
	}
	return fmt.Sprintf("%s one of %d", text, len(c.Keys))
}

func keyWords(k share.Key) string {
	parts := make([]string, len(k))
	for i, iv := range k {
		parts[i] = number(iv.First)
		if iv.First != iv.Last {
			parts[i] += "-" + number(iv.Last)
		}
	}
	return strings.Join(parts, " . ")
}

// number writes a value as a hexadecimal number.
func number(v space.Value) string {
	if v.Hi != 0 {
		return fmt.Sprintf("0x%x%016x", v.Hi, v.Lo)
	}
	return fmt.Sprintf("0x%x", v.Lo)
}

func fieldWords(f share.Field) string {
	if f.Mask == ones(f.At.Len) {
		return f.At.String()
	}
	return fmt.Sprintf("%s & %s", f.At, number(f.Mask))
}
