package handover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rule is one rule.
type rule struct {
	Family string     `json:"family"`
	Table  string     `json:"table"`
	Chain  string     `json:"chain"`
	Handle int        `json:"handle"`
	Expr   statements `json:"expr"`
}

// statements are generic JSON values (numbers as json.Number); none where nothing in them matters here. That spares most
// of the time that 10,000 rules take.
type statements []any

// UnmarshalJSON implements json.Unmarshaler.
func (s *statements) UnmarshalJSON(b []byte) error {
	for _, word := range []string{`"ct"`, `"flow"`, `"notrack"`, `"xt"`, `"` + PassChain + `"`} {
		if bytes.Contains(b, []byte(word)) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			return d.Decode((*[]any)(s))
		}
	}
	return nil
}

// set is a named set or map.
type set struct {
	Family  string `json:"family"`
	Table   string `json:"table"`
	Name    string `json:"name"`
	Type    any    `json:"type"` // a list where it is of several fields
	Comment string `json:"comment"`
	Elem    any    `json:"elem"`
}

type chain struct {
	Family string     `json:"family"`
	Table  string     `json:"table"`
	Name   string     `json:"name"`
	Type   string     `json:"type"`
	Hook   string     `json:"hook"`
	Prio   number     `json:"prio"`
	Policy string     `json:"policy"`
	Dev    stringList `json:"dev"`
}

type flowtable struct {
	Family string     `json:"family"`
	Table  string     `json:"table"`
	Name   string     `json:"name"`
	Hook   string     `json:"hook"`
	Prio   number     `json:"prio"`
	Dev    stringList `json:"dev"`
	Flags  stringList `json:"flags"`
}

// stringList is a string or a list of strings; anything else decodes as none.
type stringList []string

// UnmarshalJSON implements json.Unmarshaler and never fails.
func (s *stringList) UnmarshalJSON(b []byte) error {
	var v any
	if json.Unmarshal(b, &v) == nil {
		*s = texts(v)
	}
	return nil
}

// number is an integer; anything else decodes as 0.
type number int

// UnmarshalJSON implements json.Unmarshaler and never fails.
func (n *number) UnmarshalJSON(b []byte) error {
	var v int
	if json.Unmarshal(b, &v) == nil {
		*n = number(v)
	}
	return nil
}

// Decode reads the JSON of `nft -j list ruleset`. It fails only on what is not such a document at all; objects and
// statements it does not know, and known ones of an unknown shape, are left out.
//
// nft 1.0.6 leaves the devices of netdev chains and the flags of flowtables out of its JSON: whoever can ask the
// kernel fills them in.
func Decode(doc []byte) (Ruleset, error) {
	var top struct {
		Nftables []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &top); err != nil {
		return Ruleset{}, fmt.Errorf("decode ruleset: %w", err)
	}
	if top.Nftables == nil {
		return Ruleset{}, fmt.Errorf("decode ruleset: no \"nftables\" array")
	}
	var r Ruleset
	var sets []set
	for _, obj := range top.Nftables {
		for _, kind := range slices.Sorted(maps.Keys(obj)) { // one, as nft writes them
			raw := obj[kind]
			switch kind {
			case "chain":
				r.addChain(raw)
			case "flowtable":
				r.addFlowtable(raw)
			case "set", "map":
				var s set
				if into(raw, &s) {
					sets = append(sets, s)
				}
			case "rule":
				var u rule
				if into(raw, &u) {
					r.rules = append(r.rules, u)
				}
			}
		}
	}
	for _, s := range sets {
		// nft 1.0.6 drops the comment of a set that it is given as JSON.
		if f, ok := s.lowered(); ok || s.Comment == "" && s.Type == "ifname" && r.passes(s) {
			r.Flowtables = append(r.Flowtables, f)
		}
	}
	for _, u := range r.rules {
		r.count(u)
		r.tie(u)
	}
	r.Labels = labelUse(r.rules, sets)
	return r, nil
}

// into decodes one object with numbers kept exact.
func into(raw json.RawMessage, v any) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(v) == nil
}

func (r *Ruleset) addChain(raw json.RawMessage) {
	var c chain
	if !into(raw, &c) || c.Hook == "" {
		return
	}
	slices.Sort(c.Dev)
	r.Chains = append(r.Chains, Chain{
		Family: c.Family, Table: c.Table, Name: c.Name, Type: c.Type, Hook: c.Hook,
		Policy: c.Policy, Priority: int(c.Prio), Devices: c.Dev,
	})
}

func (r *Ruleset) addFlowtable(raw json.RawMessage) {
	var f flowtable
	if !into(raw, &f) {
		return
	}
	slices.Sort(f.Dev)
	slices.Sort(f.Flags)
	r.Flowtables = append(r.Flowtables, Flowtable{
		Family: f.Family, Table: f.Table, Name: f.Name, Hook: f.Hook,
		Priority: fmt.Sprint(int(f.Prio)), Devices: f.Dev, Flags: f.Flags,
	})
}

// lowered returns the flowtable that the set stands for, if its comment says that it stands for one.
func (s set) lowered() (Flowtable, bool) {
	f := Flowtable{Family: s.Family, Table: s.Table, Name: s.Name, Hook: "ingress", Lowered: true, Devices: texts(s.Elem)}
	slices.Sort(f.Devices)
	rest, ok := strings.CutPrefix(s.Comment, LoweredComment)
	if !ok {
		return f, false
	}
	for field := range strings.SplitSeq(rest, ";") {
		switch key, value, _ := strings.Cut(strings.TrimSpace(field), "="); key {
		case "priority":
			f.Priority = value
		case "flags":
			f.Flags = strings.Split(value, ",")
		}
	}
	return f, true
}

// texts returns the strings in a value: itself, or the members of a list, plain or as {"elem": {"val": ...}}.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if m, ok := e.(map[string]any); ok {
				e = get(m, "elem", "val")
			}
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// count adds a rule to its base chain.
func (r *Ruleset) count(u rule) {
	for i := range r.Chains {
		c := &r.Chains[i]
		if c.Family == u.Family && c.Table == u.Table && c.Name == u.Chain {
			c.Rules++
		}
	}
}

// passes reports whether a rule that lowering wrote passes packets from the devices in a set.
func (r *Ruleset) passes(s set) bool {
	return slices.ContainsFunc(r.rules, func(u rule) bool {
		return u.Family == s.Family && u.Table == s.Table && !strings.HasPrefix(u.Chain, AddChain) && u.lowered() &&
			slices.ContainsFunc(u.Expr, func(st any) bool {
				m := get(st, "match")
				return get(m, "left", "meta", "key") == "iifname" && get(m, "right") == "@"+s.Name
			})
	})
}

// tie reads the label or mark of a lowered flowtable out of a rule that passes its flows.
func (r *Ruleset) tie(u rule) {
	var name string
	var labels Labels
	var mark uint32
	if strings.HasPrefix(u.Chain, AddChain) || !u.lowered() {
		return
	}
	for _, st := range u.Expr {
		m := get(st, "match")
		left, right := get(m, "left"), get(m, "right")
		switch {
		case get(left, "meta", "key") == "iifname":
			name, _ = right.(string)
		case get(left, "ct", "key") == "label":
			if n, ok := integer(right); ok {
				labels.Add(int(n))
			}
		case isMark(first(get(left, "&"))):
			if n, ok := integer(right); ok {
				mark = uint32(n)
			}
		}
	}
	for i := range r.Flowtables {
		f := &r.Flowtables[i]
		if f.Lowered && f.Family == u.Family && f.Table == u.Table && "@"+f.Name == name {
			f.Labels = f.Labels.Union(labels)
			f.Mark |= mark
		}
	}
}

// labelUse returns every label a rule may use: each number in a rule that mentions labels, and where such a rule
// names a set or map, each number in any of them.
func labelUse(rules []rule, sets []set) Labels {
	var used Labels
	named := false
	for _, u := range rules {
		mentions := false
		walk([]any(u.Expr), func(v any) { mentions = mentions || get(v, "ct", "key") == "label" })
		if !mentions {
			continue
		}
		walk([]any(u.Expr), func(v any) {
			if s, ok := v.(string); ok && strings.HasPrefix(s, "@") {
				named = true
			}
			if n, ok := integer(v); ok {
				used.Add(int(n))
			}
		})
	}
	if !named {
		return used
	}
	for _, s := range sets {
		walk(s.Elem, func(v any) {
			if n, ok := integer(v); ok {
				used.Add(int(n))
			}
		})
	}
	return used
}
