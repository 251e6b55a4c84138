package ruleset

// stmts reads an array of statements.
func (b *builder) stmts(v value) []Stmt {
	var out []Stmt
	for e := range v.elems() {
		out = append(out, b.stmt(e))
	}
	return out
}

// stmt reads a statement; Opaque where it is not understood.
func (b *builder) stmt(v value) Stmt {
	refs := len(b.refs)
	if k, m, ok := v.only(); ok {
		if s := b.stmtMember(k, m); s != nil {
			return s
		}
	}
	if v.is(kindString) {
		if u, ok := b.update(v); ok {
			return u
		}
	}
	b.refs = b.refs[:refs]
	return Opaque{compact(v)}
}

// stmtMember reads the statement that an object with one member is; nil where it is not understood.
func (b *builder) stmtMember(k string, v value) Stmt {
	f := partial{b: b, ok: true}
	s := f.stmt(k, v)
	if !f.ok {
		return nil
	}
	return s
}

func (f *partial) stmt(k string, v value) Stmt {
	switch k {
	case "accept", "drop", "continue", "return", "jump", "goto":
		if e, ok := f.b.member(k, v).(Verdict); ok {
			return e
		}
		return nil
	case "ct helper", "ct timeout", "ct expectation", "secmark":
		return SetObject{Kind: k, Value: f.b.expr(v)}
	case "synproxy", "tunnel":
		if v.is(kindString) || f.isMap(v) {
			return SetObject{Kind: k, Value: f.b.expr(v)}
		}
	case "counter", "quota", "limit":
		if v.is(kindString) || f.isMap(v) {
			return f.object(k, v)
		}
	}
	if v.isNull() {
		return f.bare(k)
	}
	switch k {
	case "notrack", "xt", "log", "tproxy", "synproxy", "last":
		return f.action(k, v)
	case "reset":
		return Action{Kind: k, Fields: Extra{}.with("", v)}
	}
	if !v.is(kindObject) {
		return nil
	}
	return f.full(k, v)
}

// isMap reports whether a value looks an object's name up.
func (f *partial) isMap(v value) bool {
	k, _, ok := v.only()
	return ok && k == "map"
}

// object reads a statement that names a counter, quota or limit object.
func (f *partial) object(k string, v value) Stmt {
	ref := f.b.expr(v)
	switch k {
	case "counter":
		return Counter{Ref: ref}
	case "quota":
		return Quota{Ref: ref}
	}
	return Limit{Ref: ref}
}

// bare reads a statement without anything said about it.
func (f *partial) bare(k string) Stmt {
	switch k {
	case "counter":
		return Counter{}
	case "snat", "dnat", "masquerade", "redirect":
		return NAT{Kind: k}
	case "reject":
		return Reject{}
	case "queue":
		return Queue{}
	case "dup":
		return Dup{}
	case "notrack", "log", "synproxy", "last", "tproxy":
		return Action{Kind: k}
	case "xt":
		return XT{}
	}
	return nil
}

// action reads a statement whose members nobody here looks at.
func (f *partial) action(k string, v value) Stmt {
	if !v.is(kindObject) {
		return nil
	}
	if k == "xt" {
		return f.xt(v)
	}
	a := Action{Kind: k, Fields: Extra{}}
	for name, m := range v.members() {
		a.Fields = a.Fields.with(name, m)
	}
	return a
}

func (f *partial) xt(v value) Stmt {
	var x XT
	for k, m := range v.members() {
		switch k {
		case "type":
			x.Type = f.str(m)
		case "name":
			x.Name = f.str(m)
		default:
			x.Extra = x.Extra.with(k, m)
		}
	}
	return x
}

// full reads a statement that is an object.
func (f *partial) full(k string, v value) Stmt {
	switch k {
	case "match":
		return f.match(v)
	case "counter":
		return f.counter(v)
	case "quota":
		return f.quota(v)
	case "limit":
		return f.limit(v)
	case "mangle":
		key, value := f.two(v, "key", "value")
		return Mangle{Key: key, Value: value}
	case "fwd":
		return f.fwd(v)
	case "dup":
		return f.dup(v)
	case "snat", "dnat", "masquerade", "redirect":
		return f.nat(k, v)
	case "reject":
		return f.reject(v)
	case "set", "map":
		return f.update(k, v)
	case "meter":
		return f.meter(v)
	case "vmap":
		return f.vmap(v)
	case "ct count":
		return f.ctCount(v)
	case "flow":
		return f.flow(v)
	case "queue":
		return f.queue(v)
	}
	return nil
}

// two reads an object of two expressions.
func (f *partial) two(v value, first, second string) (x, y Expr) {
	for k, m := range v.members() {
		switch k {
		case first:
			x = f.b.expr(m)
		case second:
			y = f.b.expr(m)
		default:
			f.ok = false
		}
	}
	f.need(x != nil && y != nil)
	return x, y
}

func (f *partial) match(v value) Stmt {
	var s Match
	var right value
	for k, m := range v.members() {
		switch k {
		case "op":
			s.Op = f.str(m)
		case "left":
			s.Left = f.b.expr(m)
		case "right":
			right = m
			s.Right = f.b.expr(m)
		default:
			f.ok = false
		}
	}
	f.need(s.Left != nil && s.Right != nil)
	switch s.Op {
	case "":
		s.Op = "==" // nft 0.9 and users may leave it out
	case "==", "!=", "<", ">", "<=", ">=", "in", "!":
	default:
		f.ok = false
	}
	if m, ok := s.Left.(Meta); ok && s.Right != nil && interfaceKey(m.Key) {
		f.b.devices(right, false)
	}
	return s
}

func (f *partial) counter(v value) Stmt {
	var s Counter
	for k, m := range v.members() {
		switch k {
		case "packets":
			s.Packets = f.uint(m)
		case "bytes":
			s.Bytes = f.uint(m)
		default:
			f.ok = false
		}
	}
	return s
}

func (f *partial) quota(v value) Stmt {
	var s Quota
	for k, m := range v.members() {
		switch k {
		case "val":
			s.Val = f.uint(m)
		case "val_unit":
			s.ValUnit = f.str(m)
		case "used":
			s.Used = f.uint(m)
		case "used_unit":
			s.UsedUnit = f.str(m)
		case "inv":
			s.Inv = f.bool(m)
		default:
			f.ok = false
		}
	}
	return s
}

func (f *partial) limit(v value) Stmt {
	var s Limit
	for k, m := range v.members() {
		switch k {
		case "rate":
			s.Rate = f.uint(m)
		case "rate_unit":
			s.RateUnit = f.str(m)
		case "per":
			s.Per = f.str(m)
		case "burst":
			s.Burst = f.uint(m)
		case "burst_unit":
			s.BurstUnit = f.str(m)
		case "inv":
			s.Inv = f.bool(m)
		default:
			f.ok = false
		}
	}
	return s
}

func (f *partial) flow(v value) Stmt {
	var s FlowAdd
	for k, m := range v.members() {
		switch k {
		case "op":
			s.Op = f.str(m)
		case "flowtable":
			name := f.str(m)
			f.need(isRef(name))
			if f.ok {
				s.Flowtable = name[1:]
				f.b.refer("flowtable", s.Flowtable, m)
			}
		default:
			f.ok = false
		}
	}
	f.need(s.Op == "add" && s.Flowtable != "")
	return s
}

func (f *partial) ctCount(v value) Stmt {
	var s CTCount
	for k, m := range v.members() {
		switch k {
		case "val":
			s.Val = f.uint(m)
		case "inv":
			s.Inv = f.bool(m)
		default:
			f.ok = false
		}
	}
	return s
}

func (f *partial) queue(v value) Stmt {
	var s Queue
	for k, m := range v.members() {
		switch k {
		case "num":
			s.Num = f.b.expr(m)
		case "flags":
			s.Flags = f.words(m)
		default:
			s.Extra = s.Extra.with(k, m)
		}
	}
	return s
}
