package nft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// heads are what a listing in text says in front of rules and elements. The JSON of nft 1.0.6 leaves out the devices of
// netdev chains, flags of flowtables, "dynamic" and auto-merge of sets, comments of tables and chains, and how long the
// keys of type "integer" are; that of all versions the flags of chains. For the flags of tables 1.0.6 prints memory
// that it has freed.
type heads struct {
	tables map[key]head // the name is empty
	chains map[key]head
	sets   map[key]head
	flows  map[key]head
}

type head struct {
	devices, flags []string
	comment        string
	autoMerge      bool
	typeof         string // both types of a map, with the colon between them
}

// askTables asks the kernel for the flags and comments of tables, which nft shows only with everything in them.
func (h heads) askTables() error {
	objs, err := dump(unix.NFT_MSG_GETTABLE, tableObject)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, o := range objs {
		if o.flags != nil || o.comment != "" {
			h.tables[key{o.family, o.name, ""}] = head{flags: o.flags, comment: o.comment}
		}
	}
	return nil
}

// parseHeads reads a listing as nft prints it, one statement a line, indented by its depth.
func parseHeads(text string) heads {
	h := heads{tables: map[key]head{}, chains: map[key]head{}, sets: map[key]head{}, flows: map[key]head{}}
	var table, inner key
	var into map[key]head
	for line := range strings.Lines(text) {
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		ws := words(lex(strings.TrimSpace(line), 0))
		switch {
		case len(ws) == 0:
		case depth == 0 && ws[0].is("table") && len(ws) >= 3:
			table = key{ws[1].text, ws[2].text, ""}
		case depth == 1 && (ws[0].is("flags") || ws[0].is("comment")):
			h.tables[table] = h.tables[table].read(ws, line)
		case depth == 1 && ws[0].is("chain") && len(ws) >= 2:
			inner, into = key{table.family, table.table, ws[1].text}, h.chains
		case depth == 1 && ws[0].is("flowtable") && len(ws) >= 2:
			inner, into = key{table.family, table.table, ws[1].text}, h.flows
		case depth == 1 && (ws[0].is("set") || ws[0].is("map")) && len(ws) >= 2:
			inner, into = key{table.family, table.table, ws[1].text}, h.sets
		case depth == 1:
			into = nil
		case depth == 2 && into != nil:
			into[inner] = into[inner].read(ws, line)
		}
	}
	return h
}

// read adds what one line says.
func (d head) read(ws []token, line string) head {
	switch {
	case ws[0].is("comment") && len(ws) == 2:
		d.comment = strings.Trim(ws[1].text, `"`)
	case ws[0].is("auto-merge"):
		d.autoMerge = true
	case ws[0].is("typeof"):
		d.typeof = strings.TrimPrefix(strings.TrimSpace(line), "typeof ")
	case ws[0].is("type"):
		for i, w := range ws {
			switch {
			case w.is("device") && i+1 < len(ws):
				d.devices = names(ws[i+1 : i+2])
			case w.is("devices"):
				d.devices = names(until(ws[i+1:], "}"))
			case w.is("flags"):
				d.flags = names(until(ws[i+1:], ";"))
			}
		}
	case ws[0].is("devices"):
		d.devices = names(ws[1:])
	case ws[0].is("flags"):
		d.flags = append(d.flags, names(ws[1:])...)
	case ws[0].is("counter") && len(ws) == 1:
		d.flags = append(d.flags, "counter")
	}
	return d
}

// until cuts tokens off at the first of a kind.
func until(ws []token, end string) []token {
	for i, w := range ws {
		if w.is(end) {
			return ws[:i]
		}
	}
	return ws
}

// names are the words and strings among tokens.
func names(ws []token) []string {
	var out []string
	for _, w := range ws {
		if w.kind == tokenWord || w.kind == tokenString {
			out = append(out, strings.Trim(w.text, `"`))
		}
	}
	return out
}

// mend puts the flags of tables, where there are any, into a listing in JSON.
func (h heads) mend(doc []byte) ([]byte, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(h.tables)), func(d head) bool { return d.flags != nil }) {
		return doc, nil
	}
	var top struct {
		Nftables []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &top); err != nil {
		return nil, err
	}
	for _, o := range top.Nftables {
		raw, ok := o["table"]
		if !ok {
			continue
		}
		var t map[string]any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&t); err != nil {
			return nil, err
		}
		family, _ := t["family"].(string)
		name, _ := t["name"].(string)
		delete(t, "flags")
		if flags := h.tables[key{family, name, ""}].flags; flags != nil {
			t["flags"] = flags
		}
		mended, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		o["table"] = mended
	}
	return json.Marshal(top)
}

// complete fills in what the JSON has left out.
func (h heads) complete(r *ruleset.Ruleset) {
	for _, t := range r.Tables {
		t.Comment = orElse(t.Comment, h.tables[key{string(t.Family), t.Name, ""}].comment)
		for _, c := range t.Chains {
			d := h.chains[key{string(t.Family), t.Name, c.Name}]
			c.Comment = orElse(c.Comment, d.comment)
			if c.Base != nil {
				c.Base.Devices = d.sorted(c.Base.Devices)
				c.Base.Flags = d.flags
			}
		}
		for _, s := range t.Sets {
			h.sets[key{string(t.Family), t.Name, s.Name}].completeSet(s)
		}
		for _, f := range t.Flowtables {
			if d, ok := h.flows[key{string(t.Family), t.Name, f.Name}]; ok {
				f.Devices = d.sorted(f.Devices)
				f.Flags = slices.Sorted(maps.Keys(set(append(f.Flags, d.flags...))))
			}
		}
	}
}

// completeSet fills in what a set's text says. Where the JSON has types of unnamed integers, the declaration tells them.
func (d head) completeSet(s *ruleset.Set) {
	s.AutoMerge = s.AutoMerge || d.autoMerge
	for _, f := range d.flags {
		if f != "counter" { // a statement here, a flag of flowtables
			s.Flags = appendNew(s.Flags, f)
		}
	}
	if s.TypeOf == nil && !slices.Contains(slices.Concat(s.Type, s.MapType), "integer") {
		return
	}
	key, data, _ := strings.Cut(d.typeof, " : ")
	if e, ok := ruleset.ParseSelector(key); ok && s.TypeOf == nil {
		s.Type, s.TypeOf = nil, e
	}
	if e, ok := ruleset.ParseSelector(data); ok {
		s.MapType, s.MapTypeOf = nil, e
	}
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// sorted are the devices, or else those that are known already.
func (d head) sorted(known []string) []string {
	if d.devices == nil {
		return known
	}
	return slices.Sorted(maps.Keys(set(d.devices)))
}

func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}
