package ruleset

// stmts writes an array of statements.
func (e *encoder) stmts(list []Stmt) {
	e.raw("[")
	for i, s := range list {
		if i > 0 {
			e.raw(", ")
		}
		if op, ok := s.(Opaque); ok {
			e.opaque(op.Raw)
			continue
		}
		o := e.open()
		o.member(s)
		o.end()
	}
	e.raw("]")
}

// member writes the one member of a statement that is an object.
func (o *object) member(s Stmt) {
	switch s := s.(type) {
	case Verdict:
		o.verdict(s)
	case Match:
		in := o.key("match").open()
		in.str("op", s.Op)
		in.expr("left", s.Left)
		in.expr("right", s.Right)
		in.end()
	case Counter:
		o.counter(s)
	case Quota:
		o.quota(s)
	case Limit:
		o.limit(s)
	case Mangle:
		in := o.key("mangle").open()
		in.expr("key", s.Key)
		in.expr("value", s.Value)
		in.end()
	case VMap:
		in := o.key("vmap").open()
		in.expr("key", s.Key)
		in.expr("data", s.Data)
		in.end()
	case CTCount:
		in := o.key("ct count").open()
		in.key("val").uint(s.Val)
		in.bool("inv", s.Inv)
		in.end()
	case FlowAdd:
		in := o.key("flow").open()
		in.str("op", s.Op)
		in.str("flowtable", "@"+s.Flowtable)
		in.end()
	case SetUpdate:
		o.update(s)
	case Meter:
		in := o.key("meter").open()
		in.expr("key", s.Key)
		in.key("stmt").inner(s.Stmts)
		in.uint("size", s.Size)
		in.str("name", s.Name)
		in.end()
	default:
		o.target(s)
	}
}

// target writes the statements that do something to the packet.
func (o *object) target(s Stmt) {
	switch s := s.(type) {
	case Fwd:
		in := o.key("fwd").open()
		in.expr("dev", s.Dev)
		in.str("family", s.Family)
		in.expr("addr", s.Addr)
		in.end()
	case Dup:
		o.orNull("dup", s.Addr == nil && s.Dev == nil, func(in *object) {
			in.expr("addr", s.Addr)
			in.expr("dev", s.Dev)
		})
	case NAT:
		o.nat(s)
	case Reject:
		o.orNull("reject", s.Type == "" && s.Expr == nil && s.Extra == nil, func(in *object) {
			in.str("type", s.Type)
			in.expr("expr", s.Expr)
			in.extra(s.Extra)
		})
	case Queue:
		o.orNull("queue", s.Num == nil && s.Flags == nil && s.Extra == nil, func(in *object) {
			in.expr("num", s.Num)
			in.words("flags", s.Flags)
			in.extra(s.Extra)
		})
	case SetObject:
		o.expr(s.Kind, s.Value)
	case XT:
		o.orNull("xt", s.Type == "" && s.Name == "" && s.Extra == nil, func(in *object) {
			in.str("type", s.Type)
			in.str("name", s.Name)
			in.extra(s.Extra)
		})
	case Action:
		if raw, ok := s.Fields[""]; ok && s.Kind == "reset" {
			o.key(s.Kind).opaque(raw)
			return
		}
		o.orNull(s.Kind, s.Fields == nil, func(in *object) { in.extra(s.Fields) })
	}
}

// orNull writes a member that is null where nothing is said.
func (o *object) orNull(k string, null bool, members func(*object)) {
	e := o.key(k)
	if null {
		e.raw("null")
		return
	}
	in := e.open()
	members(in)
	in.end()
}

// inner writes the statement of a meter: one, as nft reads it.
func (e *encoder) inner(list []Stmt) {
	if len(list) != 1 {
		e.stmts(list)
		return
	}
	if op, ok := list[0].(Opaque); ok {
		e.opaque(op.Raw)
		return
	}
	o := e.open()
	o.member(list[0])
	o.end()
}

func (o *object) counter(s Counter) {
	if s.Ref != nil {
		o.expr("counter", s.Ref)
		return
	}
	in := o.key("counter").open()
	in.key("packets").uint(s.Packets)
	in.key("bytes").uint(s.Bytes)
	in.end()
}

func (o *object) quota(s Quota) {
	if s.Ref != nil {
		o.expr("quota", s.Ref)
		return
	}
	in := o.key("quota").open()
	in.key("val").uint(s.Val)
	in.str("val_unit", s.ValUnit)
	in.uint("used", s.Used)
	in.str("used_unit", s.UsedUnit)
	in.bool("inv", s.Inv)
	in.end()
}

func (o *object) limit(s Limit) {
	if s.Ref != nil {
		o.expr("limit", s.Ref)
		return
	}
	in := o.key("limit").open()
	in.key("rate").uint(s.Rate)
	in.str("rate_unit", s.RateUnit)
	in.str("per", s.Per)
	in.uint("burst", s.Burst)
	in.str("burst_unit", s.BurstUnit)
	in.bool("inv", s.Inv)
	in.end()
}

func (o *object) nat(s NAT) {
	empty := s.Addr == nil && s.Port == nil && s.Family == "" && s.Flags == nil && s.TypeFlags == nil && s.Extra == nil
	o.orNull(s.Kind, empty, func(in *object) {
		in.str("family", s.Family)
		in.expr("addr", s.Addr)
		in.expr("port", s.Port)
		in.words("flags", s.Flags)
		in.words("type_flags", s.TypeFlags)
		in.extra(s.Extra)
	})
}

func (o *object) update(s SetUpdate) {
	kind := "set"
	if s.Data != nil {
		kind = "map"
	}
	in := o.key(kind).open()
	in.str("op", s.Op)
	in.expr("elem", s.Elem)
	in.expr("data", s.Data)
	in.str(kind, "@"+string(s.Set))
	in.stmts("stmt", s.Stmts)
	in.end()
}
