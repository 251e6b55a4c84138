package nft

import "fmt"

// Reach says which tables loading a source may change. It errs on the side of too many.
type Reach struct {
	// Ruleset is set where all tables that were there may be meant: the source flushes the ruleset, or names a table by
	// its handle.
	Ruleset bool `json:"ruleset,omitempty"`
	// Tables are those that the source names: "inet filter". Other words that look like it may be among them.
	Tables map[string]bool `json:"tables,omitempty"`
}

// names reports whether the source names a table.
func (r Reach) names(t SavedTable) bool { return r.Tables[t.String()] }

// holds reports whether a table that was there may be changed.
func (r Reach) holds(t SavedTable) bool { return r.Ruleset || r.names(t) }

// reach finds out what a source may change.
func (s Source) reach() (Reach, error) {
	if s.json() {
		doc, err := parseJSON(s)
		if err != nil {
			return Reach{}, err
		}
		return doc.reach(), nil
	}
	toks, err := (&expander{dir: s.Dir}).expand(s.Name, s.Text, 0)
	if err != nil {
		return Reach{}, err
	}
	return textReach(words(toks)), nil
}

// textReach looks outside of braces, where all names of tables are: behind their family, or behind another word where
// ip was left out.
func textReach(ws []token) Reach {
	var r Reach
	depth := 0
	for i, w := range ws {
		switch {
		case w.is("{"):
			depth++
		case w.is("}"):
			depth--
		case depth > 0 || w.kind != tokenWord:
		case w.is("ruleset"):
			r.Ruleset = true
		case w.is("handle") && i > 0 && (ws[i-1].is("table") || i > 1 && ws[i-2].is("table")):
			r.Ruleset = true
		case i == 0 || ws[i-1].kind != tokenWord:
		case isFamily(ws[i-1].text):
			r.add(ws[i-1].text, w.text)
		default:
			r.add("ip", w.text)
		}
	}
	return r
}

// reach looks at everything that has a name. Family and name may be in any object below a command.
func (d *jsonDoc) reach() Reach {
	var r Reach
	for _, c := range d.commands {
		visit(c, func(v any) {
			o, ok := v.(obj)
			if !ok {
				return
			}
			if _, ok := o["ruleset"]; ok {
				r.Ruleset = true
			}
			if table, ok := o["table"].(obj); ok && table["name"] == nil {
				r.Ruleset = true
			}
			families := []string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}
			if family, ok := o["family"].(string); ok {
				families = []string{family}
			}
			for _, family := range families {
				for _, key := range []string{"name", "table"} {
					if name, ok := o[key].(string); ok && name != "" {
						r.add(family, name)
					}
				}
			}
		})
	}
	return r
}

func (r *Reach) add(family, name string) {
	if name[:1] >= "0" && name[:1] <= "9" {
		return // an address or a number: no name
	}
	if r.Tables == nil {
		r.Tables = map[string]bool{}
	}
	r.Tables[SavedTable{Family: family, Name: name}.String()] = true
}

// For prepares for loading a source: Restore will put back what that changes, and nothing else. The error is an
// *UnsavedError where the source may change a table that nft cannot read back.
func (s *Saved) For(src Source) error {
	var err error
	if s.Reach, err = src.reach(); err != nil {
		return fmt.Errorf("look for tables in the ruleset: %w", err)
	}
	for _, t := range s.Tables {
		if t.Broken != "" && s.Reach.holds(t) {
			return &UnsavedError{Table: t.String(), Reason: t.Broken}
		}
	}
	return nil
}
