package ruleset

import "slices"

func (e *encoder) set(s *Set) {
	kind := "set"
	if s.IsMap {
		kind = "map"
	}
	o := e.kind(kind, s.Family)
	o.str("name", s.Name)
	o.str("table", s.Table)
	o.datatype("type", s.Type, s.TypeOf)
	o.handle(s.Handle)
	o.str("comment", s.Comment)
	o.datatype("map", s.MapType, s.MapTypeOf)
	o.str("policy", s.Policy)
	o.words("flags", e.setFlags(s))
	o.uint("timeout", s.Timeout)
	o.uint("gc-interval", s.GCInterval)
	o.uint("size", s.Size)
	o.bool("auto-merge", s.AutoMerge)
	if len(s.Elems) > 0 {
		o.key("elem").exprs(s.Elems)
	}
	o.stmts("stmt", s.Stmts)
	o.extra(s.Extra)
	o.endKind()
}

// setFlags are the flags to write. nft 1.0.6 does not read "dynamic"; all versions add it where a rule needs it.
func (e *encoder) setFlags(s *Set) []string {
	if !e.load {
		return s.Flags
	}
	return slices.DeleteFunc(slices.Clone(s.Flags), func(f string) bool { return f == "dynamic" })
}

// datatype writes the type of keys or data.
func (o *object) datatype(k string, names []string, of Expr) {
	switch {
	case of != nil:
		in := o.key(k).open()
		in.expr("typeof", of)
		in.end()
	case len(names) > 0:
		o.key(k).oneOrMore(names)
	}
}

// elem writes an element about which more is said than its value.
func (e *encoder) elem(x Elem) {
	o := e.open()
	in := o.key("elem").open()
	in.expr("val", x.Val)
	in.uint("timeout", x.Timeout)
	in.uint("expires", x.Expires)
	in.str("comment", x.Comment)
	for _, s := range x.Stmts {
		in.member(s)
	}
	in.extra(x.Extra)
	in.end()
	o.end()
}
