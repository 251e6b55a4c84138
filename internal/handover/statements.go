package handover

import "strings"

// Place is where a rule is, and for a rule with `flow add`, whom it hands flows to.
type Place struct {
	Family, Table, Chain string
	Handle               int
	Flowtable            string
}

// Adds are the rules with the kernel's own `flow add`. Those of a lowered ruleset are known by their flowtable's labels.
func (r Ruleset) Adds() []Place {
	return r.having("flow", func(st any) (string, bool) {
		name, ok := get(st, "flow", "flowtable").(string)
		return strings.TrimPrefix(name, "@"), ok
	})
}

// Notracks are the rules that keep packets from conntrack.
func (r Ruleset) Notracks() []Place {
	return r.having("notrack", func(any) (string, bool) { return "", true })
}

// having lists the rules with a statement of one kind.
func (r Ruleset) having(kind string, read func(st any) (string, bool)) []Place {
	var out []Place
	for _, u := range r.rules {
		for _, st := range u.Expr {
			m, ok := st.(map[string]any)
			if !ok {
				continue
			}
			if _, ok := m[kind]; !ok {
				continue
			}
			if name, ok := read(st); ok {
				out = append(out, Place{u.Family, u.Table, u.Chain, u.Handle, name})
				break
			}
		}
	}
	return out
}
