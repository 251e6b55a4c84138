package nft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// obj and list are JSON values of any shape.
type (
	obj  = map[string]any
	list = []any
)

// jsonDoc is a ruleset in libnftables-json(5).
type jsonDoc struct {
	src      Source
	commands []obj
}

func parseJSON(src Source) (*jsonDoc, error) {
	var top struct {
		Nftables []obj `json:"nftables"`
	}
	d := json.NewDecoder(strings.NewReader(src.Text))
	d.UseNumber()
	err := d.Decode(&top)
	if err == nil && top.Nftables == nil {
		err = errors.New(`no "nftables" array`)
	}
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more text behind the JSON document")
		}
	}
	if err != nil {
		line := 1 + strings.Count(src.Text[:min(int(d.InputOffset()), len(src.Text))], "\n")
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line = 1 + strings.Count(src.Text[:min(int(syntax.Offset), len(src.Text))], "\n")
		}
		return nil, &SourceError{File: src.Name, Line: line, Err: err}
	}
	return &jsonDoc{src: src, commands: top.Nftables}, nil
}

// labels returns the labels the document may use: where it mentions labels at all, every small number in it.
func (d *jsonDoc) labels() handover.Labels {
	var used handover.Labels
	mentions := false
	for _, c := range d.commands {
		visit(c, func(v any) {
			switch v := v.(type) {
			case obj:
				if ct, ok := v["ct"].(obj); ok && ct["key"] == "label" {
					mentions = true
				}
			case json.Number:
				if n, err := v.Int64(); err == nil && n >= 0 && n < handover.LabelBits {
					used.Add(int(n))
				}
			}
		})
	}
	if !mentions {
		return handover.Labels{}
	}
	return used
}

// visit calls f for a value and everything in it.
func visit(v any, f func(any)) {
	f(v)
	switch v := v.(type) {
	case list:
		for _, e := range v {
			visit(e, f)
		}
	case obj:
		for _, e := range v {
			visit(e, f)
		}
	}
}

// jsonRewriter walks the commands once and collects the edited ones.
type jsonRewriter struct {
	edit
	out     []obj
	passes  map[key]bool
	ties    map[key]*tie
	count   labels
	changed bool
	flushes bool
	tables  []Flowtable
	rules   int
}

func (d *jsonDoc) rewrite(e edit) (program, labels, error) {
	w := &jsonRewriter{edit: e, passes: map[key]bool{}, ties: map[key]*tie{}}
	for i, c := range d.commands {
		if err := w.command(c); err != nil {
			return program{}, labels{}, &SourceError{File: d.src.Name, Err: fmt.Errorf("command %d: %w", i+1, err)}
		}
	}
	p := program{
		text: d.src.Text, changed: w.changed, flushes: w.flushes,
		where:  func(int) (string, int) { return d.src.Name, 0 },
		report: Report{Lowered: w.lower && w.changed, Flowtables: w.tables, Rules: w.rules},
	}
	tieAll(p.report.Flowtables, w.ties)
	if w.changed {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "\t")
		if err := enc.Encode(obj{"nftables": w.out}); err != nil {
			return program{}, labels{}, fmt.Errorf("write JSON ruleset: %w", err)
		}
		p.text = b.String()
	}
	return p, w.count, nil
}

// split returns the verb of a command, the kind of its object and the object. Without a verb nft adds.
func split(c obj) (verb, kind string, o obj) {
	for k, v := range c {
		switch k {
		case "add", "create", "insert", "replace", "delete", "destroy", "list", "flush", "reset", "rename":
			if inner, ok := v.(obj); ok {
				for kind, body := range inner {
					o, _ := body.(obj)
					return k, kind, o
				}
			}
			return k, "", nil
		default:
			o, _ := v.(obj)
			return "add", k, o
		}
	}
	return "", "", nil
}

func (w *jsonRewriter) command(c obj) error {
	verb, kind, o := split(c)
	switch {
	case verb == "flush" && kind == "ruleset":
		w.flushes = true
	case kind == "flowtable" && o != nil:
		return w.flowtable(c, verb, o)
	case kind == "rule" && o != nil:
		expr, _ := o["expr"].(list)
		if i := flowExpr(expr); i >= 0 {
			w.rules++
			if w.lower {
				return w.flowAdd(verb, o, i)
			}
		}
	}
	w.out = append(w.out, c)
	return nil
}

func str(o obj, k string) string {
	s, _ := o[k].(string)
	return s
}

// namesOf returns a string or a list of strings as a list.
func namesOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case list:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

func (w *jsonRewriter) flowtable(c obj, verb string, o obj) error {
	if verb != "add" && verb != "create" {
		if w.lower {
			w.changed = true
			c = obj{verb: obj{"set": obj{"family": str(o, "family"), "table": str(o, "table"), "name": str(o, "name")}}}
		}
		w.out = append(w.out, c)
		return nil
	}
	f := Flowtable{
		Family: str(o, "family"), Table: str(o, "table"), Name: str(o, "name"), Hook: str(o, "hook"),
		Flags: namesOf(o["flags"]),
	}
	if err := checkFamily(f.Family); err != nil {
		return err
	}
	if p, ok := o["prio"]; ok {
		f.Priority = fmt.Sprint(p)
	}
	for _, d := range namesOf(o["dev"]) {
		f.list(d, w.devices)
	}
	why, refused := w.noOffload[f.key()]
	f.Refused = why
	w.tables = append(w.tables, f)
	switch {
	case w.lower:
		w.changed = true
		s := obj{"family": f.Family, "table": f.Table, "name": f.Name, "type": "ifname", "comment": f.comment()}
		if names := f.elements(); len(names) > 0 {
			s["elem"] = names
		}
		if f.patterned() {
			s["flags"] = []string{"interval"}
		}
		c = obj{verb: obj{"set": s}}
	case !f.asWritten() || refused:
		w.changed = true
		keep := maps.Clone(o)
		keep["dev"] = f.Devices
		if len(f.Devices) == 0 {
			delete(keep, "dev")
		}
		if refused {
			keep["flags"] = slices.DeleteFunc(slices.Clone(f.Flags), func(s string) bool { return s == "offload" })
		}
		c = obj{verb: obj{"flowtable": keep}}
	}
	w.out = append(w.out, c)
	return nil
}

// flowExpr returns the index of the first `flow add` among statements; -1 where there is none.
func flowExpr(expr list) int {
	return slices.IndexFunc(expr, func(st any) bool {
		o, _ := st.(obj)
		flow, ok := o["flow"].(obj)
		return ok && flow["op"] == "add"
	})
}

// flowAdd writes what a rule with `flow add` becomes; generate.go shows the form.
func (w *jsonRewriter) flowAdd(verb string, rule obj, i int) error {
	if verb == "replace" {
		return &UnsupportedError{"`replace rule` with `flow add`: one rule becomes several"}
	}
	family, table := str(rule, "family"), str(rule, "table")
	if err := checkFamily(family); err != nil {
		return err
	}
	expr, _ := rule["expr"].(list)
	match, rest := expr[:i], expr[i+1:]
	flow, _ := expr[i].(obj)["flow"].(obj)
	name := strings.TrimPrefix(str(flow, "flowtable"), "@")
	if flowExpr(rest) >= 0 {
		return &UnsupportedError{"two `flow add` in one rule: the second one never takes a flow"}
	}
	leaving := false
	visit(list(rest), func(v any) {
		if o, ok := v.(obj); ok {
			_, ret := o["return"]
			_, gt := o["goto"]
			_, vmap := o["vmap"]
			leaving = leaving || ret || gt || vmap
		}
	})
	if w.mark != 0 && leaving {
		return &UnsupportedError{"a mark and a return, goto or vmap behind `flow add`: that takes a second bit"}
	}
	w.changed = true
	m := w.count.marker(w.edit)
	w.tie(key{family, table, name}, m)
	text, err := json.Marshal(expr)
	if err != nil {
		return fmt.Errorf("write JSON rule: %w", err)
	}
	chain := m.chain(string(text))
	at := jsonPlace{family, table}
	inside := rest
	rules := []list{
		{jsonMatch("==", obj{"meta": obj{"key": "iifname"}}, "@"+name), m.jsonIsSet(), jsonJump(handover.PassChain)},
		append(slices.Clone(match), jsonJump(chain)),
	}
	if leaving {
		inside = nil
		second := w.count.next(w.edit, false)
		masked := obj{"&": list{jsonLabel(), second}}
		rules = append(rules, append(list{
			m.jsonIsSet(), jsonMatch("!=", masked, second), obj{"mangle": obj{"key": jsonLabel(), "value": second}},
		}, rest...))
	}
	w.chain(at, chain, jsonAddRules(family, w.taken, m, inside))
	if t := (key{family, table, ""}); !w.passes[t] {
		w.passes[t] = true
		w.chain(at, handover.PassChain, jsonPassRules(family))
	}
	_, byHandle := rule["handle"]
	_, byIndex := rule["index"]
	if verb == "add" && (byHandle || byIndex) || verb == "insert" && !byHandle || byIndex {
		slices.Reverse(rules)
	}
	for _, e := range rules {
		r := maps.Clone(rule)
		r["expr"] = e
		w.out = append(w.out, obj{verb: obj{"rule": r}})
	}
	return nil
}

// tie notes what marks the flows of a flowtable.
func (w *jsonRewriter) tie(k key, m marker) {
	if w.ties[k] == nil {
		w.ties[k] = &tie{}
	}
	w.ties[k].add(m)
}

// jsonPlace is a table.
type jsonPlace struct{ family, table string }

func (w *jsonRewriter) chain(at jsonPlace, name string, rules []list) {
	w.out = append(w.out, obj{"add": obj{"chain": obj{"family": at.family, "table": at.table, "name": name}}})
	for _, e := range rules {
		w.out = append(w.out, obj{"add": obj{"rule": obj{"family": at.family, "table": at.table, "chain": name, "expr": e}}})
	}
}

func jsonMatch(op string, left, right any) obj {
	return obj{"match": obj{"op": op, "left": left, "right": right}}
}

func jsonJump(chain string) obj { return obj{"jump": obj{"target": chain}} }
func jsonLabel() obj            { return obj{"ct": obj{"key": "label"}} }
func jsonMark() obj             { return obj{"ct": obj{"key": "mark"}} }
func jsonStatus() obj           { return obj{"ct": obj{"key": "status"}} }
func jsonProto() obj            { return obj{"meta": obj{"key": "l4proto"}} }

func jsonField(protocol, field string) obj {
	return obj{"payload": obj{"protocol": protocol, "field": field}}
}

func (m marker) jsonIsSet() obj {
	if m.mark != 0 {
		return jsonMatch("==", obj{"&": list{jsonMark(), m.mark}}, m.mark)
	}
	return jsonMatch("in", jsonLabel(), m.label)
}

func (m marker) jsonSet() obj {
	if m.mark != 0 {
		return obj{"mangle": obj{"key": jsonMark(), "value": obj{"|": list{jsonMark(), m.mark}}}}
	}
	return obj{"mangle": obj{"key": jsonLabel(), "value": m.label}}
}

// jsonAddRules is addRules in JSON.
func jsonAddRules(family string, taken handover.Labels, m marker, rest list) []list {
	ret := obj{"return": nil}
	isTaken := m.jsonIsSet()
	if m.mark == 0 {
		isTaken = jsonMatch("in", jsonLabel(), taken.List())
	}
	var r []list
	if family != "ip6" {
		r = append(r, list{jsonMatch("!=", jsonField("ip", "hdrlength"), 5), ret})
	}
	return append(r,
		list{jsonMatch("!=", jsonProto(), obj{"set": list{"tcp", "udp"}}), ret},
		list{jsonMatch("in", jsonField("tcp", "flags"), list{"fin", "rst"}), ret},
		list{jsonMatch("==", jsonProto(), "tcp"), jsonMatch("!", jsonStatus(), "assured"), ret},
		list{jsonMatch("!=", obj{"ct": obj{"key": "helper"}}, "none"), ret},
		list{jsonMatch("in", jsonStatus(), list{0x40, 0x1000}), ret},
		list{jsonMatch("!", jsonStatus(), "confirmed"), ret},
		list{isTaken, ret},
		append(list{m.jsonSet(), m.jsonIsSet()}, rest...),
	)
}

// jsonPassRules is passRules in JSON.
func jsonPassRules(family string) []list {
	ret := obj{"return": nil}
	var r []list
	if family != "ip6" {
		r = append(r,
			list{jsonMatch("!=", jsonField("ip", "hdrlength"), 5), ret},
			list{jsonMatch("!=", obj{"&": list{jsonField("ip", "frag-off"), 0x3fff}}, 0), ret},
		)
	}
	if family != "ip" {
		r = append(r, list{jsonMatch("!=", jsonField("ip6", "nexthdr"), obj{"set": list{"tcp", "udp"}}), ret})
	}
	return append(r,
		list{jsonMatch("in", jsonField("tcp", "flags"), list{"fin", "rst"}), ret},
		list{jsonMatch("==", jsonProto(), obj{"set": list{"tcp", "udp"}}), obj{"accept": nil}},
	)
}
