package ruleset

import (
	"fmt"
	"strings"
)

func stmtText(s Stmt) string { return text(func(p *printer) { p.stmt(s) }) }

func (s Match) String() string     { return stmtText(s) }
func (s Counter) String() string   { return stmtText(s) }
func (s Quota) String() string     { return stmtText(s) }
func (s Limit) String() string     { return stmtText(s) }
func (s Mangle) String() string    { return stmtText(s) }
func (s Fwd) String() string       { return stmtText(s) }
func (s Dup) String() string       { return stmtText(s) }
func (s NAT) String() string       { return stmtText(s) }
func (s Reject) String() string    { return stmtText(s) }
func (s SetUpdate) String() string { return stmtText(s) }
func (s Meter) String() string     { return stmtText(s) }
func (s VMap) String() string      { return stmtText(s) }
func (s CTCount) String() string   { return stmtText(s) }
func (s FlowAdd) String() string   { return stmtText(s) }
func (s SetObject) String() string { return stmtText(s) }
func (s Queue) String() string     { return stmtText(s) }
func (s XT) String() string        { return stmtText(s) }
func (s Action) String() string    { return stmtText(s) }

// stmt prints a statement.
func (p *printer) stmt(s Stmt) {
	switch s := s.(type) {
	case Match:
		p.match(s)
	case Verdict:
		p.verdict(s)
	case VMap:
		p.expr(s.Key, Type{})
		p.put(" vmap ")
		p.data(s.Key, s.Data, Type{})
	case Counter:
		if s.Ref != nil {
			p.named("counter name ", s.Ref)
			return
		}
		fmt.Fprintf(p, "counter packets %d bytes %d", s.Packets, s.Bytes)
	case Quota:
		p.quota(s)
	case Limit:
		p.limit(s)
	case CTCount:
		fmt.Fprintf(p, "ct count %s%d", over(s.Inv), s.Val)
	case Mangle:
		t, _ := TypeOf(s.Key, p.table)
		p.expr(s.Key, Type{})
		p.put(" set ")
		p.expr(s.Value, t)
	case FlowAdd:
		p.put("flow ", s.Op, " @", s.Flowtable)
	case SetUpdate:
		p.update(s)
	case Meter:
		p.meter(s)
	case Opaque:
		p.opaque(s.Raw)
	default:
		p.target(s)
	}
}

// over is the word that turns a limit around.
func over(inv bool) string {
	if inv {
		return "over "
	}
	return ""
}

// match prints a comparison. Between a selector and a constant nft needs no sign for "equal", except where it would
// mean "some of these bits".
func (p *printer) match(s Match) {
	t, _ := TypeOf(s.Left, p.table)
	if op, ok := s.Left.(Option); ok && op.Name == "" && op.Kind == "tcp option" {
		if _, exists := s.Right.(Bool); exists {
			n, _ := op.Extra.Int("base")
			fmt.Fprintf(p, "%s %d ", op.Kind, n)
			p.expr(s.Right, t)
			return
		}
	}
	p.expr(s.Left, Type{})
	p.put(" ")
	_, binary := s.Left.(Binary)
	switch {
	case s.Op == "in":
	case s.Op != "==":
		p.put(s.Op, " ")
	case binary, t.Bitmask() && !isSet(s.Right):
		p.put("== ")
	}
	switch r := s.Right.(type) {
	case List:
		sep := ","
		if s.Op != "in" && s.Op != "!" {
			sep = " | "
		}
		p.list(r, sep, t)
	default:
		p.expr(r, t)
	}
}

func isSet(e Expr) bool {
	switch e.(type) {
	case SetLit, SetRef:
		return true
	}
	return false
}

// named prints what names an object: its name, or a map that gives one.
func (p *printer) named(before string, ref Expr) {
	p.put(before)
	name := Type{Name: "string", Bits: 128}
	if s, ok := ref.(Str); ok {
		p.put(quote(string(s)))
		return
	}
	p.expr(ref, name)
}

func (p *printer) quota(s Quota) {
	if s.Ref != nil {
		p.named("quota name ", s.Ref)
		return
	}
	fmt.Fprintf(p, "quota %s%d %s", over(s.Inv), s.Val, orBytes(s.ValUnit))
	if s.Used != 0 {
		fmt.Fprintf(p, " used %d %s", s.Used, orBytes(s.UsedUnit))
	}
}

func orBytes(unit string) string {
	if unit == "" {
		return "bytes"
	}
	return unit
}

func (p *printer) limit(s Limit) {
	if s.Ref != nil {
		p.named("limit name ", s.Ref)
		return
	}
	fmt.Fprintf(p, "limit rate %s", over(s.Inv))
	p.rate(s)
}

// rate prints "10/second burst 5 packets".
func (p *printer) rate(s Limit) {
	inBytes := s.RateUnit != "" && s.RateUnit != "packets"
	fmt.Fprintf(p, "%d", s.Rate)
	if inBytes {
		p.put(" ", s.RateUnit)
	}
	if s.Per != "" {
		p.put("/", s.Per)
	} else {
		p.put("/second")
	}
	switch {
	case s.Burst == 0:
	case inBytes:
		fmt.Fprintf(p, " burst %d %s", s.Burst, orBytes(s.BurstUnit))
	default:
		fmt.Fprintf(p, " burst %d packets", s.Burst)
	}
}

func (p *printer) update(s SetUpdate) {
	p.put(s.Op, " @", string(s.Set), " { ")
	p.elem(s.Elem, Type{}, Type{})
	p.inner(s.Stmts)
	if s.Data != nil {
		p.put(" : ")
		p.expr(s.Data, Type{})
	}
	p.put(" }")
}

// inner prints statements inside an element: their configuration, no state.
func (p *printer) inner(list []Stmt) {
	for _, s := range list {
		p.put(" ")
		if c, ok := s.(Counter); ok && c.Ref == nil {
			p.put("counter")
			continue
		}
		p.stmt(s)
	}
}

func (p *printer) meter(s Meter) {
	p.put("meter ", s.Name)
	if s.Size != 0 {
		fmt.Fprintf(p, " size %d", s.Size)
	}
	p.put(" { ")
	p.elem(s.Key, Type{}, Type{})
	p.inner(s.Stmts)
	p.put(" }")
}

// flags prints words behind a blank.
func (p *printer) flags(before string, words []string) {
	if len(words) > 0 {
		p.put(before, strings.Join(words, ","))
	}
}
