package nft

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// heads are what a listing in text says in front of the rules: flags of tables, devices and flags of chains and
// flowtables. The JSON of nft 1.0.6 leaves out the devices of netdev chains and the flags of flowtables, that of all
// versions the flags of chains, and for the flags of tables 1.0.6 prints memory that it has freed.
type heads struct {
	tables map[key][]string // flags; the name is empty
	chains map[key]head
	flows  map[key]head
}

type head struct{ devices, flags []string }

// parseHeads reads a listing as nft prints it, one statement a line, indented by its depth.
func parseHeads(text string) heads {
	h := heads{tables: map[key][]string{}, chains: map[key]head{}, flows: map[key]head{}}
	var table, inner key
	var into map[key]head
	for line := range strings.Lines(text) {
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		ws := words(lex(strings.TrimSpace(line), 0))
		switch {
		case len(ws) == 0:
		case depth == 0 && ws[0].is("table") && len(ws) >= 3:
			table = key{ws[1].text, ws[2].text, ""}
		case depth == 1 && ws[0].is("flags"):
			h.tables[table] = names(ws[1:])
		case depth == 1 && ws[0].is("chain") && len(ws) >= 2:
			inner, into = key{table.family, table.table, ws[1].text}, h.chains
		case depth == 1 && ws[0].is("flowtable") && len(ws) >= 2:
			inner, into = key{table.family, table.table, ws[1].text}, h.flows
		case depth == 1:
			into = nil
		case depth == 2 && into != nil:
			into[inner] = into[inner].read(ws)
		}
	}
	return h
}

// read adds what one line says.
func (d head) read(ws []token) head {
	switch {
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
		switch w.kind {
		case tokenWord:
			out = append(out, w.text)
		case tokenString:
			out = append(out, strings.Trim(w.text, `"`))
		}
	}
	return out
}

// mend puts the flags of tables, where there are any, into a listing in JSON.
func (h heads) mend(doc []byte) ([]byte, error) {
	if len(h.tables) == 0 {
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
		if flags := h.tables[key{family, name, ""}]; flags != nil {
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
		for _, c := range t.Chains {
			if d, ok := h.chains[key{string(t.Family), t.Name, c.Name}]; ok && c.Base != nil {
				c.Base.Devices = d.sorted(c.Base.Devices)
				c.Base.Flags = d.flags
			}
		}
		for _, f := range t.Flowtables {
			if d, ok := h.flows[key{string(t.Family), t.Name, f.Name}]; ok {
				f.Devices = d.sorted(f.Devices)
				f.Flags = slices.Sorted(maps.Keys(set(append(f.Flags, d.flags...))))
			}
		}
	}
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
