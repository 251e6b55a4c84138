package ruleset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Decode reads the output of `nft -j list ruleset`, or a list of commands as `nft -j -f` takes them, as far as they
// build a ruleset: add, create, insert, and flush or delete of what came before them in the document.
//
// What it does not understand inside a rule or an element becomes Opaque, unknown members of objects become Extra, and
// objects of unknown kinds Ruleset.Opaque. An error is a *SyntaxError, and then there is no ruleset: text that is not
// JSON, an unknown family, an object in a table that is not there, names that no object can have, and documents beyond
// the bounds of size and depth.
func Decode(doc []byte) (*Ruleset, error) {
	src := string(doc)
	d, err := parseJSON(src)
	if err != nil {
		return nil, err
	}
	b := &builder{
		document: d, rs: &Ruleset{}, object: -1,
		tables: map[tableKey]*Table{}, chains: map[nameKey]*Chain{}, sets: map[nameKey]*Set{}, flowtables: map[nameKey]*Flowtable{},
	}
	if err := b.outermost(); err != nil {
		return nil, err
	}
	return b.rs, nil
}

// tableKey names a table.
type tableKey struct {
	family Family
	name   string
}

// nameKey names something in a table.
type nameKey struct {
	table *Table
	name  string
}

// builder makes the ruleset out of the document.
type builder struct {
	*document
	rs         *Ruleset
	tables     map[tableKey]*Table
	chains     map[nameKey]*Chain
	sets       map[nameKey]*Set
	flowtables map[nameKey]*Flowtable
	refs       []ref
	object     int    // index of the object that is being decoded, or -1
	kind       string // its kind
	table      *Table // its table
	err        error  // what is wrong inside a rule or an element
}

// ref is a name that must exist at the end of the document.
type ref struct {
	what   string // "chain", "set", "flowtable"
	name   string
	table  *Table
	at     int
	object int
	kind   string
}

// fail makes an error about a value.
func (b *builder) fail(v value, format string, args ...any) error {
	return b.failAt(v.offset(), format, args...)
}

func (b *builder) failAt(at int, format string, args ...any) error {
	e := &SyntaxError{Offset: at, Object: b.object, Kind: b.kind, What: fmt.Sprintf(format, args...)}
	e.locate(b.src)
	return e
}

// outermost reads the outermost object.
func (b *builder) outermost() error {
	top := value{b.document, 0}
	list, ok := top.get("nftables")
	if !ok || !list.is(kindArray) {
		return b.fail(top, `not a ruleset: {"nftables": [...]} is what nft -j prints`)
	}
	for v := range list.elems() {
		b.object++
		b.kind, b.table = "", nil
		if err := b.element(v); err != nil {
			return err
		}
	}
	for _, t := range b.rs.Tables {
		for _, c := range t.Chains {
			for i, r := range c.Rules {
				r.Index = i
			}
		}
	}
	return b.resolve()
}

// element reads one element of the list: an object, or a command with one.
func (b *builder) element(v value) error {
	kind, val, ok := v.only()
	if !ok {
		return b.fail(v, "want an object with one member, its kind")
	}
	b.kind = kind
	switch kind {
	case "add", "create", "insert", "delete", "destroy", "flush":
		return b.command(kind, val)
	case "replace", "rename", "list", "reset":
		return b.fail(v, "the command %q does not make a ruleset", kind)
	}
	return b.add(kind, v, val, "add")
}

// command reads a command with its object.
func (b *builder) command(verb string, v value) error {
	kind, val, ok := v.only()
	if !ok {
		return b.fail(v, "want an object with one member, the kind of what to %s", verb)
	}
	b.kind = kind
	switch verb {
	case "delete", "destroy", "flush":
		return b.remove(verb, kind, val)
	case "insert":
		if kind != "rule" {
			return b.fail(v, "only rules are inserted")
		}
	}
	return b.add(kind, v, val, verb)
}

// add puts an object into the ruleset. whole is the object with its kind around it.
func (b *builder) add(kind string, whole, v value, verb string) error {
	if kind == "metainfo" {
		b.rs.Meta = compact(v)
		return nil
	}
	if !known(kind) {
		b.rs.Opaque = append(b.rs.Opaque, compact(whole))
		return nil
	}
	if !v.is(kindObject) {
		return b.fail(v, "want an object, not %v", v.node().kind)
	}
	family, err := b.family(v)
	if err != nil {
		return err
	}
	if kind == "table" {
		return b.addTable(family, v)
	}
	if b.table, err = b.tableOf(family, v); err != nil {
		return err
	}
	switch kind {
	case "chain":
		return b.addChain(v)
	case "rule":
		return b.addRule(v, verb)
	case "set", "map", "meter":
		return b.addSet(kind, v)
	case "element":
		return b.addElements(v)
	case "flowtable":
		return b.addFlowtable(v)
	}
	return b.addObject(kind, v)
}

// known reports whether objects of a kind are decoded.
func known(kind string) bool {
	switch kind {
	case "table", "chain", "rule", "set", "map", "meter", "element", "flowtable":
		return true
	}
	return stateful(kind)
}

// stateful reports whether a kind is one of stateful objects (libnftables-json(5), and nft(8), STATEFUL OBJECTS).
func stateful(kind string) bool {
	switch kind {
	case "counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy", "tunnel":
		return true
	}
	return false
}

// family reads an object's family; nft takes "ip" for none.
func (b *builder) family(v value) (Family, error) {
	f, ok := v.get("family")
	if !ok {
		return IP, nil
	}
	if f.is(kindString) {
		switch name := Family(f.str()); name {
		case IP, IP6, Inet, ARP, Bridge, Netdev:
			return name, nil
		}
	}
	return "", b.fail(f, "unknown family %s", printable(f.text()))
}

// tableOf returns the table that an object is in.
func (b *builder) tableOf(f Family, v value) (*Table, error) {
	name, at, err := b.name(v, "table")
	if err != nil {
		return nil, err
	}
	t := b.tables[tableKey{f, name}]
	if t == nil {
		return nil, b.fail(at, "there is no table %s %s", f, printable(name))
	}
	return t, nil
}

// name reads a name that the kernel could have for an object.
func (b *builder) name(v value, member string) (string, value, error) {
	n, ok := v.get(member)
	if !ok {
		return "", v, b.fail(v, "no %q", member)
	}
	if !n.is(kindString) {
		return "", n, b.fail(n, "%q: want a string, not %v", member, n.node().kind)
	}
	name := n.str()
	switch {
	case name == "":
		return "", n, b.fail(n, "%q is empty", member)
	case len(name) > maxName:
		return "", n, b.fail(n, "%q is longer than %d bytes", member, maxName)
	case control(name):
		return "", n, b.fail(n, "%q has a control character", member)
	}
	return name, n, nil
}

// remove deletes or flushes what the document has made so far. What it deletes must be there, except for destroy and
// flush of everything.
func (b *builder) remove(verb, kind string, v value) error {
	family, err := b.family(v)
	if err != nil {
		return err
	}
	if verb == "flush" && kind == "ruleset" {
		_, one := v.get("family")
		b.forget(func(t *Table) bool { return !one || t.Family == family })
		return nil
	}
	if kind == "table" {
		name, at, err := b.name(v, "name")
		if err != nil {
			return err
		}
		t := b.tables[tableKey{family, name}]
		switch {
		case t == nil && verb == "destroy":
			return nil
		case t == nil:
			return b.fail(at, "there is no table %s %s", family, printable(name))
		case verb == "flush":
			for _, c := range t.Chains {
				c.Rules = nil
			}
			return nil
		}
		b.forget(func(u *Table) bool { return u == t })
		return nil
	}
	return b.flushPart(verb, kind, family, v)
}

// flushPart empties a chain, a set or a map.
func (b *builder) flushPart(verb, kind string, family Family, v value) error {
	if verb != "flush" || kind != "chain" && kind != "set" && kind != "map" {
		return b.fail(v, "the command %q of a %s is not understood", verb, printable(kind))
	}
	t, err := b.tableOf(family, v)
	if err != nil {
		return err
	}
	name, at, err := b.name(v, "name")
	if err != nil {
		return err
	}
	c, s := b.chains[nameKey{t, name}], b.sets[nameKey{t, name}]
	switch {
	case kind == "chain" && c != nil:
		c.Rules = nil
	case kind != "chain" && s != nil:
		s.Elems = nil
	default:
		return b.fail(at, "table %s %s has no %s %s", t.Family, t.Name, kind, printable(name))
	}
	return nil
}

// forget drops tables with everything in them.
func (b *builder) forget(drop func(*Table) bool) {
	b.rs.Tables = slices.DeleteFunc(b.rs.Tables, func(t *Table) bool {
		if drop(t) {
			delete(b.tables, tableKey{t.Family, t.Name})
			return true
		}
		return false
	})
	b.refs = slices.DeleteFunc(b.refs, func(r ref) bool { return drop(r.table) })
}

// resolve checks that what rules and elements refer to is there.
func (b *builder) resolve() error {
	for _, r := range b.refs {
		k := nameKey{r.table, r.name}
		var ok bool
		switch r.what {
		case "chain":
			ok = b.chains[k] != nil
		case "flowtable":
			ok = b.flowtables[k] != nil
		default:
			ok = b.sets[k] != nil
		}
		if !ok {
			b.object, b.kind = r.object, r.kind
			return b.failAt(r.at, "table %s %s has no %s %s", r.table.Family, r.table.Name, r.what, printable(r.name))
		}
	}
	return nil
}

// refer notes a name that must exist.
func (b *builder) refer(what, name string, v value) {
	if b.table != nil {
		b.refs = append(b.refs, ref{what, name, b.table, v.offset(), b.object, b.kind})
	}
}

// compact is a value's JSON without blanks.
func compact(v value) json.RawMessage {
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(v.text())); err != nil {
		return json.RawMessage(v.text()) // not reached: the scanner checked it
	}
	return out.Bytes()
}
