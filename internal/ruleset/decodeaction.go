package ruleset

func (f *partial) fwd(v value) Stmt {
	var s Fwd
	for k, m := range v.members() {
		switch k {
		case "dev":
			f.b.devices(m, false)
			s.Dev = f.b.expr(m)
		case "family":
			s.Family = f.str(m)
		case "addr":
			s.Addr = f.b.expr(m)
		default:
			f.ok = false
		}
	}
	f.need(s.Dev != nil)
	return s
}

func (f *partial) dup(v value) Stmt {
	var s Dup
	for k, m := range v.members() {
		switch k {
		case "addr":
			s.Addr = f.b.expr(m)
		case "dev":
			f.b.devices(m, false)
			s.Dev = f.b.expr(m)
		default:
			f.ok = false
		}
	}
	return s
}

func (f *partial) nat(kind string, v value) Stmt {
	s := NAT{Kind: kind}
	for k, m := range v.members() {
		switch k {
		case "addr":
			s.Addr = f.b.expr(m)
		case "port":
			s.Port = f.b.expr(m)
		case "family":
			s.Family = f.str(m)
		case "flags":
			s.Flags = f.words(m)
		case "type_flags":
			s.TypeFlags = f.words(m)
		default:
			s.Extra = s.Extra.with(k, m)
		}
	}
	return s
}

func (f *partial) reject(v value) Stmt {
	var s Reject
	for k, m := range v.members() {
		switch k {
		case "type":
			s.Type = f.str(m)
		case "expr":
			s.Expr = f.b.expr(m)
		default:
			s.Extra = s.Extra.with(k, m)
		}
	}
	return s
}

// update reads the statements that change a set or a map.
func (f *partial) update(kind string, v value) Stmt {
	var s SetUpdate
	for k, m := range v.members() {
		switch k {
		case "op":
			s.Op = f.str(m)
		case "elem", "key":
			s.Elem = f.b.expr(m)
		case "data":
			s.Data = f.b.expr(m)
		case kind:
			ref, ok := f.b.expr(m).(SetRef)
			f.need(ok)
			s.Set = ref
		case "stmt":
			s.Stmts = f.inner(m)
		default:
			f.ok = false
		}
	}
	f.need(s.Elem != nil && s.Set != "" && (kind == "map") == (s.Data != nil))
	switch s.Op {
	case "add", "update", "delete":
	default:
		f.ok = false
	}
	return s
}

// inner reads the statements of a set's element: an array, or in older output a single one.
func (f *partial) inner(v value) []Stmt {
	if v.is(kindArray) {
		return f.b.stmts(v)
	}
	return []Stmt{f.b.stmt(v)}
}

func (f *partial) meter(v value) Stmt {
	var s Meter
	for k, m := range v.members() {
		switch k {
		case "name":
			s.Name = f.str(m)
		case "key":
			s.Key = f.b.expr(m)
		case "stmt":
			s.Stmts = f.inner(m)
		case "size":
			s.Size = f.uint(m)
		default:
			f.ok = false
		}
	}
	f.need(s.Key != nil && len(s.Stmts) > 0)
	return s
}

func (f *partial) vmap(v value) Stmt {
	var s VMap
	var data value
	for k, m := range v.members() {
		switch k {
		case "key":
			s.Key = f.b.expr(m)
		case "data":
			data = m
			s.Data = f.b.data(m)
		default:
			f.ok = false
		}
	}
	f.need(s.Key != nil && s.Data != nil)
	if m, ok := s.Key.(Meta); ok && s.Data != nil && interfaceKey(m.Key) {
		f.b.devices(data, true)
	}
	return s
}
