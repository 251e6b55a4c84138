package ruleset

import (
	"math"
	"strconv"
	"strings"
)

// fields reads the members of an object into variables. What is wrong with one ends it.
type fields struct {
	b     *builder
	err   error
	extra Extra
}

func (f *fields) fail(v value, format string, args ...any) {
	if f.err == nil {
		f.err = f.b.fail(v, format, args...)
	}
}

func (f *fields) str(name string, v value, to *string) {
	if !v.is(kindString) {
		f.fail(v, "%q: want a string, not %v", name, v.node().kind)
		return
	}
	*to = v.str()
}

func (f *fields) uint(name string, v value, to *uint64) {
	n, ok := v.uint()
	if !ok {
		f.fail(v, "%q: want a number from 0, not %s", name, printable(v.text()))
		return
	}
	*to = n
}

func (f *fields) int(name string, v value, to *int) {
	n, err := strconv.ParseInt(v.text(), 10, 64)
	if !v.is(kindNumber) || err != nil || n > math.MaxInt || n < math.MinInt {
		f.fail(v, "%q: want an integer, not %s", name, printable(v.text()))
		return
	}
	*to = int(n)
}

func (f *fields) bool(name string, v value, to *bool) {
	if !v.isBool() {
		f.fail(v, "%q: want true or false, not %v", name, v.node().kind)
		return
	}
	*to = v.is(kindTrue)
}

// words reads a string or an array of strings.
func (f *fields) words(name string, v value, to *[]string) {
	words, ok := stringList(v)
	if !ok {
		f.fail(v, "%q: want a string or an array of strings", name)
		return
	}
	*to = words
}

// devices reads the names of devices.
func (f *fields) devices(v value, to *[]string) {
	f.words("dev", v, to)
	if f.err == nil {
		f.b.devices(v, false)
		f.err = f.b.err
	}
}

// flags reads flags: words of lower-case letters.
func (f *fields) flags(v value, to *[]string) {
	f.words("flags", v, to)
	for _, w := range *to {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }) {
			f.fail(v, "a flag that is not a word: %q", printable(w))
		}
	}
}

// tableFlags reads the flags of a table. All there are up to nft 1.1 are known, which tells them from what nft 1.0.6
// prints in their place: memory that it has freed.
func (f *fields) tableFlags(v value, to *[]string) {
	f.words("flags", v, to)
	for _, w := range *to {
		switch w {
		case "dormant", "owner", "persist":
		default:
			f.fail(v, "%q is no flag of a table: nft 1.0.6 prints freed memory as the flags of a dormant table; wake it, or use a newer nft", printable(w))
		}
	}
}

// keep puts an unknown member aside.
func (f *fields) keep(name string, v value) {
	f.extra = f.extra.with(name, v)
}

// with adds a member to what has no place of its own.
func (x Extra) with(name string, v value) Extra {
	if x == nil {
		x = Extra{}
	}
	x[name] = compact(v)
	return x
}

// stringList reads a string or an array of strings.
func stringList(v value) ([]string, bool) {
	if v.is(kindString) {
		return []string{v.str()}, true
	}
	if !v.is(kindArray) {
		return nil, false
	}
	var out []string
	for e := range v.elems() {
		if !e.is(kindString) {
			return nil, false
		}
		out = append(out, e.str())
	}
	return out, true
}

func (b *builder) addTable(family Family, v value) error {
	name, _, err := b.name(v, "name")
	if err != nil {
		return err
	}
	t := b.tables[tableKey{family, name}]
	if t == nil {
		t = &Table{Family: family, Name: name}
		b.tables[tableKey{family, name}] = t
		b.rs.Tables = append(b.rs.Tables, t)
	}
	f := fields{b: b}
	for k, m := range v.members() {
		switch k {
		case "family", "name":
		case "handle":
			f.int(k, m, &t.Handle)
		case "flags":
			f.tableFlags(m, &t.Flags)
		case "comment":
			f.str(k, m, &t.Comment)
		default:
			f.keep(k, m)
		}
	}
	t.Extra = f.extra
	return f.err
}

func (b *builder) addChain(v value) error {
	name, _, err := b.name(v, "name")
	if err != nil {
		return err
	}
	c := &Chain{Family: b.table.Family, Table: b.table.Name, Name: name}
	f, base := fields{b: b}, Base{}
	for k, m := range v.members() {
		switch k {
		case "family", "table", "name":
		case "handle":
			f.int(k, m, &c.Handle)
		case "comment":
			f.str(k, m, &c.Comment)
		case "type":
			f.str(k, m, &base.Type)
		case "hook":
			f.str(k, m, &base.Hook)
		case "prio":
			f.int(k, m, &base.Priority)
		case "policy":
			f.str(k, m, &base.Policy)
		case "dev":
			f.devices(m, &base.Devices)
		case "flags":
			f.flags(m, &base.Flags)
		default:
			f.keep(k, m)
		}
	}
	if f.err != nil {
		return f.err
	}
	have := b.chains[nameKey{b.table, name}]
	switch {
	case have != nil: // a chain that is there may change its policy
		if have.Base != nil && base.Policy != "" {
			have.Base.Policy = base.Policy
		}
		return nil
	case base.Hook != "":
		c.Base = &base
	case base.Type != "" || base.Policy != "" || base.Devices != nil:
		return b.fail(v, "a base chain without a hook")
	}
	c.Extra = f.extra
	b.chains[nameKey{b.table, name}] = c
	b.table.Chains = append(b.table.Chains, c)
	return nil
}

func (b *builder) addRule(v value, verb string) error {
	if n := v.node(); n.end-n.start > maxRule {
		return b.fail(v, "a rule of %d bytes, more than the %d that one may have", n.end-n.start, maxRule)
	}
	name, at, err := b.name(v, "chain")
	if err != nil {
		return err
	}
	c := b.chains[nameKey{b.table, name}]
	if c == nil {
		return b.fail(at, "table %s %s has no chain %s", b.table.Family, b.table.Name, printable(name))
	}
	r := &Rule{Family: c.Family, Table: c.Table, Chain: c.Name}
	f, index := fields{b: b}, -1
	for k, m := range v.members() {
		switch k {
		case "family", "table", "chain":
		case "handle":
			f.int(k, m, &r.Handle)
		case "index":
			f.int(k, m, &index)
		case "comment":
			f.str(k, m, &r.Comment)
		case "expr":
			if !m.is(kindArray) {
				f.fail(m, "\"expr\": want an array, not %v", m.node().kind)
				continue
			}
			r.Stmts = b.stmts(m)
		default:
			f.keep(k, m)
		}
	}
	r.Extra = f.extra
	if f.err != nil {
		return f.err
	}
	if b.err != nil {
		return b.err
	}
	return b.place(c, r, index, verb, v)
}

// place puts a rule where its command says: add behind a rule or at the end, insert before one or at the beginning.
func (b *builder) place(c *Chain, r *Rule, index int, verb string, v value) error {
	switch {
	case index >= len(c.Rules) || index < -1:
		return b.fail(v, "chain %s has no rule with index %d", c.Name, index)
	case index < 0 && verb != "insert":
		c.Rules = append(c.Rules, r)
		return nil
	case verb != "insert":
		index++
	case index < 0:
		index = 0
	}
	c.Rules = append(c.Rules, nil)
	copy(c.Rules[index+1:], c.Rules[index:])
	c.Rules[index] = r
	return nil
}

func (b *builder) addFlowtable(v value) error {
	name, _, err := b.name(v, "name")
	if err != nil {
		return err
	}
	if b.flowtables[nameKey{b.table, name}] != nil {
		return nil
	}
	t := &Flowtable{Family: b.table.Family, Table: b.table.Name, Name: name}
	f := fields{b: b}
	for k, m := range v.members() {
		switch k {
		case "family", "table", "name":
		case "handle":
			f.int(k, m, &t.Handle)
		case "hook":
			f.str(k, m, &t.Hook)
		case "prio":
			f.int(k, m, &t.Priority)
		case "dev":
			f.devices(m, &t.Devices)
		case "flags":
			f.flags(m, &t.Flags)
		default:
			f.keep(k, m)
		}
	}
	if f.err != nil {
		return f.err
	}
	t.Extra = f.extra
	b.flowtables[nameKey{b.table, name}] = t
	b.table.Flowtables = append(b.table.Flowtables, t)
	return nil
}

func (b *builder) addObject(kind string, v value) error {
	name, _, err := b.name(v, "name")
	if err != nil {
		return err
	}
	o := &Object{Kind: kind, Family: b.table.Family, Table: b.table.Name, Name: name}
	f := fields{b: b}
	for k, m := range v.members() {
		switch k {
		case "family", "table", "name":
		case "handle":
			f.int(k, m, &o.Handle)
		case "comment":
			f.str(k, m, &o.Comment)
		default:
			f.keep(k, m)
		}
	}
	if f.err != nil {
		return f.err
	}
	o.Fields = f.extra
	b.table.Objects = append(b.table.Objects, o)
	return nil
}
