package ruleset

// addSet reads a set, a map or a meter (a set that a rule fills).
func (b *builder) addSet(kind string, v value) error {
	name, _, err := b.name(v, "name")
	if err != nil {
		return err
	}
	s := b.sets[nameKey{b.table, name}]
	if s != nil {
		return nil
	}
	s = &Set{Family: b.table.Family, Table: b.table.Name, Name: name, IsMap: kind == "map"}
	f := fields{b: b}
	var elems value
	for k, m := range v.members() {
		switch k {
		case "family", "table", "name":
		case "elem":
			elems = m
		default:
			b.setField(s, &f, k, m)
		}
	}
	if f.err != nil {
		return f.err
	}
	s.Extra = f.extra
	if elems.d != nil {
		if err := b.elements(s, elems); err != nil {
			return err
		}
	}
	b.sets[nameKey{b.table, name}] = s
	b.table.Sets = append(b.table.Sets, s)
	return nil
}

// setField reads one member of a set.
func (b *builder) setField(s *Set, f *fields, k string, m value) {
	switch k {
	case "handle":
		f.int(k, m, &s.Handle)
	case "comment":
		f.str(k, m, &s.Comment)
	case "type":
		s.Type, s.TypeOf = b.datatype(f, k, m)
	case "map":
		s.IsMap = true
		s.MapType, s.MapTypeOf = b.datatype(f, k, m)
	case "policy":
		f.str(k, m, &s.Policy)
	case "flags":
		f.flags(m, &s.Flags)
	case "timeout":
		f.uint(k, m, &s.Timeout)
	case "gc-interval":
		f.uint(k, m, &s.GCInterval)
	case "size":
		f.uint(k, m, &s.Size)
	case "auto-merge":
		f.bool(k, m, &s.AutoMerge)
	case "stmt":
		if !m.is(kindArray) {
			f.fail(m, "\"stmt\": want an array, not %v", m.node().kind)
			return
		}
		s.Stmts = b.stmts(m)
	default:
		f.keep(k, m)
	}
}

// datatype reads the type of a key or of data: names, or {"typeof": expression}.
func (b *builder) datatype(f *fields, name string, v value) ([]string, Expr) {
	if k, e, ok := v.only(); ok && k == "typeof" {
		return nil, b.expr(e)
	}
	if !v.is(kindString) && !v.is(kindArray) {
		f.fail(v, "%q: want a string, an array of strings or {\"typeof\": ...}", name)
		return nil, nil
	}
	var types []string
	f.words(name, v, &types)
	return types, nil
}

// addElements reads elements that are added to a set of before.
func (b *builder) addElements(v value) error {
	name, at, err := b.name(v, "name")
	if err != nil {
		return err
	}
	s := b.sets[nameKey{b.table, name}]
	if s == nil {
		return b.fail(at, "table %s %s has no set %s", b.table.Family, b.table.Name, printable(name))
	}
	elems, ok := v.get("elem")
	if !ok {
		return b.fail(v, "no \"elem\"")
	}
	return b.elements(s, elems)
}

// elements adds elements to a set: an array, or {"set": [...]}; a single one is taken for an array of one.
func (b *builder) elements(s *Set, v value) error {
	if k, m, ok := v.only(); ok && k == "set" {
		v = m
	}
	if !v.is(kindArray) {
		s.Elems = append(s.Elems, b.setElem(s, v))
		return b.err
	}
	if n := v.count(); s.Elems == nil && n > 0 {
		s.Elems = make([]Expr, 0, n)
	}
	for e := range v.elems() {
		s.Elems = append(s.Elems, b.setElem(s, e))
	}
	return b.err
}

// setElem reads an element of a named set.
func (b *builder) setElem(s *Set, v value) Expr {
	if len(s.Type) == 1 && s.Type[0] == "ifname" {
		b.devices(v, s.IsMap)
	}
	return b.elem(v, s.IsMap)
}

// elem reads an element. In a map it is an array of key and data.
func (b *builder) elem(v value, pairs bool) Expr {
	if !pairs || !v.is(kindArray) || v.count() != 2 {
		return b.expr(v)
	}
	var kd [2]Expr
	i := 0
	for e := range v.elems() {
		kd[i] = b.expr(e)
		i++
	}
	return Pair{kd[0], kd[1]}
}
