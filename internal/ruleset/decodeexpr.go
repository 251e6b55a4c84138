package ruleset

// expr reads an expression; Opaque where it is not understood.
func (b *builder) expr(v value) Expr {
	refs := len(b.refs)
	switch n := v.node(); n.kind {
	case kindString:
		s := v.str()
		if isRef(s) {
			b.refer("set", s[1:], v)
			return SetRef(s[1:])
		}
		return Str(s)
	case kindNumber:
		if u, ok := v.uint(); ok {
			return Num(u)
		}
	case kindTrue, kindFalse:
		return Bool(n.kind == kindTrue)
	case kindArray:
		return List(b.exprs(v, false))
	case kindObject:
		if k, m, ok := v.only(); ok {
			if e := b.member(k, m); e != nil {
				return e
			}
		}
	case kindNull:
	}
	b.refs = b.refs[:refs] // names in what is not understood may be anything
	return Opaque{compact(v)}
}

// isRef reports whether a string names a set.
func isRef(s string) bool { return len(s) > 1 && s[0] == '@' }

// exprs reads an array of expressions.
func (b *builder) exprs(v value, pairs bool) []Expr {
	out := make([]Expr, 0, v.count())
	for e := range v.elems() {
		out = append(out, b.elem(e, pairs))
	}
	return out
}

// member reads the expression that an object with one member is; nil where it is not understood.
func (b *builder) member(k string, v value) Expr {
	switch k {
	case "concat", "set", "range", "&", "|", "^", "<<", ">>":
		return b.operands(k, v)
	case "accept", "drop", "continue", "return":
		if v.isNull() {
			return Verdict{Kind: VerdictKind(k)}
		}
		return nil
	}
	if !v.is(kindObject) {
		return nil
	}
	f := partial{b: b, ok: true}
	var e Expr
	switch k {
	case "jump", "goto":
		e = f.verdict(k, v)
	case "elem":
		e = f.elem(v)
	case "prefix":
		e = f.prefix(v)
	case "map":
		e = f.mapping(v)
	case "payload":
		e = f.payload(v)
	case "exthdr":
		e = f.exthdr(v)
	case "tcp option", "ip option", "sctp chunk", "dccp option":
		e = f.option(k, v)
	case "meta", "rt", "ct", "fib":
		e = f.keyed(k, v)
	case "numgen", "jhash", "symhash":
		e = f.generator(k, v)
	case "socket", "osf", "ipsec", "tunnel":
		e = f.other(k, v)
	}
	if !f.ok {
		return nil
	}
	return e
}

// operands reads expressions that are an array of others.
func (b *builder) operands(k string, v value) Expr {
	if k == "set" && !v.is(kindArray) {
		return SetLit{b.expr(v)} // a set of one element may be written without brackets
	}
	if !v.is(kindArray) {
		return nil
	}
	switch k {
	case "concat":
		return Concat(b.exprs(v, false))
	case "set":
		return SetLit(b.exprs(v, false))
	}
	switch n := v.count(); {
	case k == "range" && n == 2:
		ends := b.exprs(v, false)
		return Range{From: ends[0], To: ends[1]}
	case k == "range" || n < 2:
		return nil
	}
	return Binary{Op: k, Operands: b.exprs(v, false)}
}

// data reads the data of a map: a set literal with pairs, or a reference.
func (b *builder) data(v value) Expr {
	if k, m, ok := v.only(); ok && k == "set" && m.is(kindArray) {
		return SetLit(b.exprs(m, true))
	}
	return b.expr(v)
}

// partial reads the members of an expression or statement. ok is false when one is not as it should be.
type partial struct {
	b  *builder
	ok bool
}

func (f *partial) str(v value) string {
	if !v.is(kindString) {
		f.ok = false
		return ""
	}
	return v.str()
}

func (f *partial) uint(v value) uint64 {
	n, ok := v.uint()
	f.ok = f.ok && ok
	return n
}

// int reads a natural number that fits.
func (f *partial) int(v value) int {
	n := f.uint(v)
	if n > 1<<31-1 {
		f.ok = false
		return 0
	}
	return int(n)
}

func (f *partial) bool(v value) bool {
	f.ok = f.ok && v.isBool()
	return v.is(kindTrue)
}

func (f *partial) words(v value) []string {
	w, ok := stringList(v)
	f.ok = f.ok && ok
	return w
}

// need makes the expression not understood unless a member was there.
func (f *partial) need(have bool) { f.ok = f.ok && have }

func (f *partial) verdict(k string, v value) Expr {
	member, target, ok := v.only()
	if !ok || member != "target" || !target.is(kindString) {
		f.ok = false
		return nil
	}
	f.b.refer("chain", target.str(), target)
	return Verdict{Kind: VerdictKind(k), Target: target.str()}
}

func (f *partial) elem(v value) Expr {
	var e Elem
	for k, m := range v.members() {
		switch k {
		case "val":
			e.Val = f.b.expr(m)
		case "timeout":
			e.Timeout = f.uint(m)
		case "expires":
			e.Expires = f.uint(m)
		case "comment":
			e.Comment = f.str(m)
		case "counter", "quota", "limit", "last", "ct count":
			e.Stmts = append(e.Stmts, f.b.stmtMember(k, m))
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	for _, s := range e.Stmts {
		f.need(s != nil)
	}
	f.need(e.Val != nil)
	return e
}

func (f *partial) prefix(v value) Expr {
	var e Prefix
	length := false
	for k, m := range v.members() {
		switch k {
		case "addr":
			e.Addr = f.b.expr(m)
		case "len":
			e.Len, length = f.int(m), true
		default:
			f.ok = false
		}
	}
	f.need(e.Addr != nil && length)
	return e
}

func (f *partial) mapping(v value) Expr {
	var e Map
	for k, m := range v.members() {
		switch k {
		case "key":
			e.Key = f.b.expr(m)
		case "data":
			e.Data = f.b.data(m)
		default:
			f.ok = false
		}
	}
	f.need(e.Key != nil && e.Data != nil)
	return e
}

func (f *partial) payload(v value) Expr {
	if _, raw := v.get("base"); raw {
		return f.rawPayload(v)
	}
	var e Payload
	for k, m := range v.members() {
		switch k {
		case "protocol":
			e.Proto = f.str(m)
		case "field":
			e.Field = f.str(m)
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	f.need(e.Proto != "" && e.Field != "")
	return e
}

func (f *partial) rawPayload(v value) Expr {
	var e RawPayload
	for k, m := range v.members() {
		switch k {
		case "base":
			e.Base = f.str(m)
		case "offset":
			e.Offset = f.int(m)
		case "len":
			e.Len = f.int(m)
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	f.need(e.Base != "" && e.Len > 0)
	return e
}

func (f *partial) exthdr(v value) Expr {
	var e Exthdr
	for k, m := range v.members() {
		switch k {
		case "name":
			e.Name = f.str(m)
		case "field":
			e.Field = f.str(m)
		case "offset":
			e.Offset = f.int(m)
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	f.need(e.Name != "")
	return e
}

func (f *partial) option(kind string, v value) Expr {
	e := Option{Kind: kind}
	for k, m := range v.members() {
		switch k {
		case "name":
			e.Name = f.str(m)
		case "field":
			e.Field = f.str(m)
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	f.need(e.Name != "" || e.Extra != nil)
	return e
}

// keyed reads meta, rt, ct and fib expressions.
func (f *partial) keyed(kind string, v value) Expr {
	var key, family, dir string
	var flags []string
	var extra Extra
	for k, m := range v.members() {
		switch {
		case k == "key" && kind != "fib", k == "result" && kind == "fib":
			key = f.str(m)
		case k == "family" && (kind == "rt" || kind == "ct"):
			family = f.str(m)
		case k == "dir" && kind == "ct":
			dir = f.str(m)
		case k == "flags" && kind == "fib":
			flags = f.words(m)
		default:
			extra = extra.with(k, m)
		}
	}
	f.need(key != "")
	switch kind {
	case "meta":
		return Meta{Key: key, Extra: extra}
	case "rt":
		return RT{Key: key, Family: family, Extra: extra}
	case "ct":
		return CT{Key: key, Family: family, Dir: dir, Extra: extra}
	}
	return FIB{Result: key, Flags: flags, Extra: extra}
}

func (f *partial) generator(kind string, v value) Expr {
	e := Generator{Kind: kind}
	for k, m := range v.members() {
		switch {
		case k == "mode" && kind == "numgen":
			e.Mode = f.str(m)
		case k == "mod":
			e.Mod = f.uint(m)
		case k == "offset":
			e.Offset = f.uint(m)
		case k == "seed" && kind == "jhash":
			seed := f.uint(m)
			e.Seed = &seed
		case k == "expr" && kind == "jhash":
			e.Expr = f.b.expr(m)
		default:
			e.Extra = e.Extra.with(k, m)
		}
	}
	f.need(kind != "jhash" || e.Expr != nil)
	f.need(kind != "numgen" || e.Mode != "")
	return e
}

func (f *partial) other(kind string, v value) Expr {
	e := Other{Kind: kind}
	for k, m := range v.members() {
		if k == "key" {
			e.Key = f.str(m)
			continue
		}
		e.Fields = e.Fields.with(k, m)
	}
	f.need(e.Key != "")
	return e
}
