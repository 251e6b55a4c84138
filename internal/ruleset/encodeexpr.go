package ruleset

import "encoding/json"

// exprs writes an array of expressions.
func (e *encoder) exprs(list []Expr) {
	e.raw("[")
	for i, x := range list {
		if i > 0 {
			e.raw(", ")
		}
		e.expr(x)
	}
	e.raw("]")
}

// expr writes an expression.
func (e *encoder) expr(x Expr) {
	switch x := x.(type) {
	case Str:
		e.str(string(x))
	case Num:
		e.uint(uint64(x))
	case Bool:
		if x {
			e.raw("true")
			return
		}
		e.raw("false")
	case SetRef:
		e.str("@" + string(x))
	case List:
		e.exprs(x)
	case Pair:
		e.exprs([]Expr{x.Key, x.Data})
	case Opaque:
		e.opaque(x.Raw)
	case Elem:
		e.elem(x)
	default:
		o := e.open()
		o.exprMember(x)
		o.end()
	}
}

func (e *encoder) opaque(raw json.RawMessage) { e.b = append(e.b, raw...) }

// exprMember writes the one member of an expression that is an object.
func (o *object) exprMember(x Expr) {
	switch x := x.(type) {
	case Concat:
		o.key("concat").exprs(x)
	case SetLit:
		o.key("set").exprs(x)
	case Range:
		o.key("range").exprs([]Expr{x.From, x.To})
	case Binary:
		o.binary(x)
	case Prefix:
		in := o.key("prefix").open()
		in.expr("addr", x.Addr)
		in.key("len").int(x.Len)
		in.end()
	case Map:
		in := o.key("map").open()
		in.expr("key", x.Key)
		in.expr("data", x.Data)
		in.end()
	case Verdict:
		o.verdict(x)
	case Generator:
		o.generator(x)
	case Other:
		in := o.key(x.Kind).open()
		in.str("key", x.Key)
		in.extra(x.Fields)
		in.end()
	default:
		o.selector(x)
	}
}

// binary writes an operation. nft 1.0.6 reads two operands only, and prints no more.
func (o *object) binary(x Binary) {
	if !o.e.load || len(x.Operands) <= 2 {
		o.key(x.Op).exprs(x.Operands)
		return
	}
	last := len(x.Operands) - 1
	o.key(x.Op).exprs([]Expr{Binary{x.Op, x.Operands[:last]}, x.Operands[last]})
}

func (o *object) verdict(x Verdict) {
	e := o.key(string(x.Kind))
	if x.Kind != Jump && x.Kind != Goto {
		e.raw("null")
		return
	}
	in := e.open()
	in.key("target").str(x.Target)
	in.end()
}

// selector writes what reads from the packet or about it.
func (o *object) selector(x Expr) {
	switch x := x.(type) {
	case Payload:
		in := o.key("payload").open()
		in.str("protocol", x.Proto)
		in.str("field", x.Field)
		in.extra(x.Extra)
		in.end()
	case RawPayload:
		in := o.key("payload").open()
		in.str("base", x.Base)
		in.key("offset").int(x.Offset)
		in.key("len").int(x.Len)
		in.extra(x.Extra)
		in.end()
	case Exthdr:
		in := o.key("exthdr").open()
		in.str("name", x.Name)
		in.str("field", x.Field)
		in.uint("offset", uint64(x.Offset))
		in.extra(x.Extra)
		in.end()
	case Option:
		in := o.key(x.Kind).open()
		in.str("name", x.Name)
		in.str("field", x.Field)
		in.extra(x.Extra)
		in.end()
	case Meta:
		o.keyed("meta", x.Key, "", "", x.Extra)
	case RT:
		o.keyed("rt", x.Key, x.Family, "", x.Extra)
	case CT:
		o.keyed("ct", x.Key, x.Family, x.Dir, x.Extra)
	case FIB:
		in := o.key("fib").open()
		in.str("result", x.Result)
		in.words("flags", x.Flags)
		in.extra(x.Extra)
		in.end()
	}
}

func (o *object) keyed(kind, key, family, dir string, x Extra) {
	in := o.key(kind).open()
	in.str("key", key)
	in.str("family", family)
	in.str("dir", dir)
	in.extra(x)
	in.end()
}

func (o *object) generator(x Generator) {
	in := o.key(x.Kind).open()
	in.str("mode", x.Mode)
	in.key("mod").uint(x.Mod)
	if x.Kind == "numgen" || x.Offset != 0 {
		in.key("offset").uint(x.Offset)
	}
	if x.Seed != nil {
		in.key("seed").uint(*x.Seed)
	}
	in.expr("expr", x.Expr)
	in.extra(x.Extra)
	in.end()
}
