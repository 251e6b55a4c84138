package ruleset

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// EncodeOptions says how Encode writes a ruleset. The zero value writes all of it: Decode gives the same values.
type EncodeOptions struct {
	// Load leaves out what nft(8) must not be given back: handles, which would be places of rules, the time that is
	// left to elements, and metainfo. It also writes around what nft 1.0.6 prints but does not read.
	Load bool
}

// Encode renders a ruleset as nft lists it: the tables, in each one chains, objects, sets and maps with their elements,
// flowtables, and the rules at the end.
//
// With nft 1.0.6 some things cannot be loaded from JSON, whoever writes it; String has them all. It refuses synproxy
// objects, ct expectations, maps whose data are a concatenation and updates of maps (which it prints as text), prints the
// types of unnamed integers as "integer", and drops without a word: comments of tables, chains, sets and objects, the policy of
// ct timeouts, auto-merge of sets, what elements have counted, flags of tables, chains and flowtables, devices of
// flowtables, and the level of `socket cgroupv2`.
func Encode(r *Ruleset, o EncodeOptions) []byte {
	e := &encoder{load: o.Load}
	e.raw(`{"nftables": [`)
	sep := ""
	item := func(f func()) {
		e.raw(sep)
		sep = ", "
		f()
	}
	if r.Meta != nil && !o.Load {
		item(func() { e.raw(`{"metainfo": `); e.b = append(e.b, r.Meta...); e.raw("}") })
	}
	for _, t := range r.Tables {
		item(func() { e.table(t) })
		for _, c := range t.Chains {
			for _, part := range e.parts(c) {
				item(func() { e.chain(part) })
			}
		}
		for _, ob := range t.Objects {
			item(func() { e.object(ob) })
		}
		for _, s := range t.Sets {
			item(func() { e.set(s) })
		}
		for _, f := range t.Flowtables {
			item(func() { e.flowtable(f) })
		}
		for _, c := range t.Chains {
			for _, u := range c.Rules {
				item(func() { e.rule(u) })
			}
		}
	}
	for _, raw := range r.Opaque {
		item(func() { e.b = append(e.b, raw...) })
	}
	e.raw("]}\n")
	return e.b
}

// encoder writes JSON.
type encoder struct {
	b    []byte
	load bool
}

func (e *encoder) raw(s string) { e.b = append(e.b, s...) }

// str writes a string.
func (e *encoder) str(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			e.quoted(s)
			return
		}
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, s...)
	e.b = append(e.b, '"')
}

// quoted writes a string that needs escapes. Not json.Marshal, which also escapes for HTML.
func (e *encoder) quoted(s string) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		e.raw(`""`) // not reached: strings have no errors
		return
	}
	e.b = append(e.b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

func (e *encoder) uint(n uint64) { e.b = strconv.AppendUint(e.b, n, 10) }
func (e *encoder) int(n int)     { e.b = strconv.AppendInt(e.b, int64(n), 10) }

// words writes an array of strings.
func (e *encoder) words(list []string) {
	e.raw("[")
	for i, w := range list {
		if i > 0 {
			e.raw(", ")
		}
		e.str(w)
	}
	e.raw("]")
}

// oneOrMore writes a string for one word, as nft does, else an array.
func (e *encoder) oneOrMore(list []string) {
	if len(list) == 1 {
		e.str(list[0])
		return
	}
	e.words(list)
}

// object is an object that is being written: its members, with what is empty left out.
type object struct {
	e     *encoder
	first bool
}

// open begins an object; end ends it.
func (e *encoder) open() *object {
	e.raw("{")
	return &object{e, true}
}

func (o *object) end() { o.e.raw("}") }

// key writes the name of a member; its value must follow.
func (o *object) key(k string) *encoder {
	if !o.first {
		o.e.raw(", ")
	}
	o.first = false
	o.e.str(k)
	o.e.raw(": ")
	return o.e
}

func (o *object) str(k, v string) {
	if v != "" {
		o.key(k).str(v)
	}
}

func (o *object) uint(k string, v uint64) {
	if v != 0 {
		o.key(k).uint(v)
	}
}

func (o *object) words(k string, v []string) {
	if len(v) > 0 {
		o.key(k).words(v)
	}
}

func (o *object) bool(k string, v bool) {
	if v {
		o.key(k).raw("true")
	}
}

func (o *object) expr(k string, x Expr) {
	if x != nil {
		o.key(k).expr(x)
	}
}

func (o *object) stmts(k string, list []Stmt) {
	if len(list) > 0 {
		o.key(k).stmts(list)
	}
}

// extra writes the members that have no place of their own, by name.
func (o *object) extra(x Extra) {
	for _, k := range slices.Sorted(maps.Keys(x)) {
		e := o.key(k)
		e.b = append(e.b, x[k]...)
	}
}

// handle writes a handle where handles are kept.
func (o *object) handle(h int) {
	if h != 0 && !o.e.load {
		o.key("handle").int(h)
	}
}

// kind begins an object of the ruleset: {"kind": {"family": ...
func (e *encoder) kind(kind string, f Family) *object {
	e.raw("{")
	e.str(kind)
	e.raw(": ")
	o := e.open()
	o.str("family", string(f))
	return o
}

func (o *object) endKind() {
	o.end()
	o.e.raw("}")
}

func (e *encoder) table(t *Table) {
	o := e.kind("table", t.Family)
	o.str("name", t.Name)
	o.handle(t.Handle)
	o.words("flags", t.Flags)
	o.str("comment", t.Comment)
	o.extra(t.Extra)
	o.endKind()
}

// parts are the objects that a chain is written as. nft 1.0.6 reads one device for each; more objects of the same
// chain add theirs.
func (e *encoder) parts(c *Chain) []*Chain {
	if !e.load || c.Base == nil || len(c.Base.Devices) < 2 {
		return []*Chain{c}
	}
	var out []*Chain
	for _, d := range c.Base.Devices {
		part, base := *c, *c.Base
		base.Devices, part.Base = []string{d}, &base
		out = append(out, &part)
	}
	return out
}

func (e *encoder) chain(c *Chain) {
	o := e.kind("chain", c.Family)
	o.str("table", c.Table)
	o.str("name", c.Name)
	o.handle(c.Handle)
	o.str("comment", c.Comment)
	if b := c.Base; b != nil {
		o.str("type", b.Type)
		o.key("hook").str(b.Hook)
		o.key("prio").int(b.Priority)
		if len(b.Devices) > 0 {
			o.key("dev").oneOrMore(b.Devices)
		}
		o.str("policy", b.Policy)
		o.words("flags", b.Flags)
	}
	o.extra(c.Extra)
	o.endKind()
}

func (e *encoder) rule(r *Rule) {
	o := e.kind("rule", r.Family)
	o.str("table", r.Table)
	o.str("chain", r.Chain)
	o.handle(r.Handle)
	o.str("comment", r.Comment)
	o.key("expr").stmts(r.Stmts)
	o.extra(r.Extra)
	o.endKind()
}

func (e *encoder) flowtable(f *Flowtable) {
	o := e.kind("flowtable", f.Family)
	o.str("name", f.Name)
	o.str("table", f.Table)
	o.handle(f.Handle)
	o.str("hook", f.Hook)
	if f.Hook != "" || f.Priority != 0 {
		o.key("prio").int(f.Priority)
	}
	if len(f.Devices) > 0 {
		o.key("dev").oneOrMore(f.Devices)
	}
	o.words("flags", f.Flags)
	o.extra(f.Extra)
	o.endKind()
}

func (e *encoder) object(ob *Object) {
	o := e.kind(ob.Kind, ob.Family)
	o.str("name", ob.Name)
	o.str("table", ob.Table)
	o.handle(ob.Handle)
	o.str("comment", ob.Comment)
	o.extra(ob.Fields)
	o.endKind()
}
