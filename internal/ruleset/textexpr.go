package ruleset

import (
	"fmt"
	"strconv"
	"strings"
)

// expr prints an expression. Constants are of the type t.
func (p *printer) expr(e Expr, t Type) {
	switch e := e.(type) {
	case Str:
		p.str(string(e), t)
	case Num:
		p.num(uint64(e), t)
	case Bool:
		p.put(map[Bool]string{true: "exists", false: "missing"}[e])
	case SetRef:
		p.put("@", string(e))
	case List:
		p.list(e, ",", t)
	case Concat:
		for i, x := range e {
			if i > 0 {
				p.put(" . ")
			}
			p.expr(x, t.field(i))
		}
	case SetLit:
		p.elements(e, t, Type{})
	case Pair:
		p.elem(e, t, Type{})
	case Elem:
		p.elem(e, t, Type{})
	case Prefix:
		p.expr(e.Addr, t)
		p.put("/", strconv.Itoa(e.Len))
	case Range:
		p.expr(e.From, t)
		p.put("-")
		p.expr(e.To, t)
	case Map:
		p.mapping(e, t)
	case Binary:
		p.binary(e, t)
	case Verdict:
		p.verdict(e)
	case Opaque:
		p.opaque(e.Raw)
	default:
		p.selector(e)
	}
}

func (p *printer) verdict(e Verdict) {
	p.put(string(e.Kind))
	if e.Target != "" {
		p.put(" ", e.Target)
	}
}

// elements prints a literal set or map.
func (p *printer) elements(list []Expr, key, data Type) {
	if len(list) == 0 {
		p.put("{ }")
		return
	}
	p.put("{ ")
	for i, x := range list {
		if i > 0 {
			p.put(", ")
		}
		p.elem(x, key, data)
	}
	p.put(" }")
}

// elem prints one element.
func (p *printer) elem(e Expr, key, data Type) {
	switch e := e.(type) {
	case Pair:
		p.elem(e.Key, key, Type{})
		p.put(" : ")
		p.expr(e.Data, data)
	case Elem:
		p.expr(e.Val, key)
		for _, s := range e.Stmts {
			p.put(" ")
			p.stmt(s)
		}
		if e.Timeout != 0 {
			p.put(" timeout ", duration(e.Timeout))
		}
		if e.Expires != 0 {
			p.put(" expires ", duration(e.Expires))
		}
		if e.Comment != "" {
			p.put(" comment ", quote(e.Comment))
		}
	case List:
		p.put(text(func(in *printer) { in.list(e, " | ", key) }))
	default:
		p.expr(e, key)
	}
}

// mapping prints a map whose data are of the type t.
func (p *printer) mapping(e Map, t Type) {
	p.expr(e.Key, Type{})
	p.put(" map ")
	p.data(e.Key, e.Data, t)
}

// data prints what a key is looked up in.
func (p *printer) data(key, data Expr, t Type) {
	if lit, ok := data.(SetLit); ok {
		keys, _ := TypeOf(key, p.table)
		p.elements(lit, keys, t)
		return
	}
	p.expr(data, t)
}

// binary prints an operation. Its constants have the type of what they are combined with.
func (p *printer) binary(e Binary, t Type) {
	if own, ok := TypeOf(e, p.table); ok {
		t = own
	}
	for i, x := range e.Operands {
		if i > 0 {
			p.put(" ", e.Op, " ")
		}
		if i > 0 && (e.Op == "<<" || e.Op == ">>") {
			p.operand(x, e.Op, Type{})
			continue
		}
		p.operand(x, e.Op, t)
	}
}

// operand prints one operand, in parentheses where it binds less tightly.
func (p *printer) operand(x Expr, op string, t Type) {
	switch x := x.(type) {
	case List:
		p.put("(")
		p.list(x, " | ", t)
		p.put(")")
	case Binary:
		if precedence(x.Op) > precedence(op) {
			p.put("(")
			p.binary(x, t)
			p.put(")")
			return
		}
		p.binary(x, t)
	default:
		p.expr(x, t)
	}
}

// selector prints what reads from the packet or about it.
func (p *printer) selector(e Expr) {
	switch e := e.(type) {
	case Payload:
		if tunnel, ok := e.Extra.Str("tunnel"); ok && tunnel != e.Proto {
			p.put(tunnel, " ")
		}
		p.put(e.Proto, " ", fieldText(e))
	case RawPayload:
		fmt.Fprintf(p, "@%s,%d,%d", e.Base, e.Offset, e.Len)
	case Exthdr:
		if e.Field == "" {
			p.put("exthdr ", e.Name)
			return
		}
		p.put(e.Name, " ", e.Field)
	case Option:
		p.option(e)
	case Meta:
		p.meta(e)
	case RT:
		p.put("rt ")
		if e.Family != "" {
			p.put(e.Family, " ")
		}
		p.put(e.Key)
	case CT:
		p.ct(e)
	case FIB:
		p.put("fib ", strings.Join(e.Flags, " . "), " ", e.Result)
	case Generator:
		p.generator(e)
	case Other:
		p.other(e)
	}
}

// fieldText is the name of a field in nft's language. That in JSON is another one here.
func fieldText(e Payload) string {
	if e.Proto == "icmpv6" && e.Field == "parameter-problem" {
		return "param-problem"
	}
	return e.Field
}

func (p *printer) option(e Option) {
	switch n, raw := e.Extra.Int("base"); {
	case e.Kind == "dccp option":
		n, _ := e.Extra.Int("type")
		p.put(e.Kind, " ", strconv.Itoa(n))
	case e.Name == "" && raw:
		offset, _ := e.Extra.Int("offset")
		length, _ := e.Extra.Int("len")
		fmt.Fprintf(p, "%s @%d,%d,%d", e.Kind, n, offset, length)
	case e.Field == "":
		p.put(e.Kind, " ", e.Name)
	default:
		p.put(e.Kind, " ", e.Name, " ", e.Field)
	}
}

// meta prints meta data; a few keys go without the word.
func (p *printer) meta(e Meta) {
	switch e.Key {
	case "iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup":
	default:
		p.put("meta ")
	}
	p.put(e.Key)
}

func (p *printer) ct(e CT) {
	p.put("ct ")
	if e.Dir != "" {
		p.put(e.Dir, " ")
	}
	if e.Family != "" && (e.Key == "saddr" || e.Key == "daddr") {
		p.put(e.Family, " ")
	}
	p.put(e.Key)
}

func (p *printer) generator(e Generator) {
	p.put(e.Kind)
	if e.Mode != "" {
		p.put(" ", e.Mode)
	}
	if e.Expr != nil {
		p.put(" ")
		p.expr(e.Expr, Type{})
	}
	fmt.Fprintf(p, " mod %d", e.Mod)
	if e.Seed != nil {
		fmt.Fprintf(p, " seed 0x%x", *e.Seed)
	}
	if e.Offset != 0 {
		fmt.Fprintf(p, " offset %d", e.Offset)
	}
}

func (p *printer) other(e Other) {
	p.put(e.Kind)
	switch e.Kind {
	case "osf":
		if ttl, ok := e.Fields.Str("ttl"); ok {
			p.put(" ttl ", ttl)
		}
	case "ipsec":
		dir, _ := e.Fields.Str("dir")
		p.put(" ", dir)
		if n, ok := e.Fields.Int("spnum"); ok && n != 0 {
			fmt.Fprintf(p, " spnum %d", n)
		}
		if family, ok := e.Fields.Str("family"); ok {
			p.put(" ", family)
		}
	}
	p.put(" ", e.Key)
	if n, ok := e.Fields.Int("level"); ok && e.Kind == "socket" {
		fmt.Fprintf(p, " level %d", n)
	}
}
