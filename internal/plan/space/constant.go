package space

import "github.com/nft-offload/nft-offload/internal/ruleset"

// ValuesOf is what a constant, a prefix or a range stands for.
func ValuesOf(t ruleset.Type, width int, e ruleset.Expr) (Set, bool) {
	if t.Name == "iface_index" {
		return device(e)
	}
	if e == ruleset.Str("*") {
		return Full(width), true
	}
	c, ok := ruleset.Constant(e, t)
	if !ok || len(c.Value) > valueBits/8 {
		return nil, false
	}
	first := Bytes(c.Value)
	switch {
	case first.Compare(Highest(width)) > 0:
		return nil, false
	case c.Last != nil:
		last := Bytes(c.Last)
		return Span(first, last), last.Compare(Highest(width)) <= 0
	case c.Mask != nil:
		in, ok := Mask{Bytes(c.Mask), first.And(Bytes(c.Mask))}.intervals(width)
		return in, ok
	}
	return One(first), true
}

// device is a device that nft lists by name, though the rule has its index. One that has gone is listed by its index,
// and may be any.
func device(e ruleset.Expr) (Set, bool) {
	name, ok := e.(ruleset.Str)
	return One(Name(string(name))), ok && len(name) <= valueBits/8
}

// flags is the bits of constants, or-ed together.
func flags(o operand, e ruleset.Expr) (Value, bool) {
	var list ruleset.List
	switch e := e.(type) {
	case ruleset.List:
		list = e
	case ruleset.SetLit:
		list = ruleset.List(e)
	default:
		list = ruleset.List{e}
	}
	var all Value
	for _, one := range list {
		in, ok := ValuesOf(o.typ, o.field.Len, one)
		v, single := in.Single()
		if !ok || !single {
			return Value{}, false
		}
		all = all.Or(v)
	}
	return all, len(list) > 0
}
