package ruleset

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The String methods print nft's own syntax, as `nft list ruleset` does: what they print of a whole ruleset loads with
// `nft -f` and lists the same. What is Opaque prints as "<opaque: ...>", which does not load.

// printer writes text.
type printer struct {
	strings.Builder
	table *Table // for the types of what sets hold; may be nil
}

func (p *printer) put(parts ...string) {
	for _, s := range parts {
		p.WriteString(s)
	}
}

// text prints something by itself.
func text(f func(p *printer)) string {
	var p printer
	f(&p)
	return p.String()
}

// exprText prints an expression for which no type is known.
func exprText(e Expr) string { return text(func(p *printer) { p.expr(e, Type{}) }) }

// quote is a string in quotes. nft knows no escapes in them: what cannot be in one is replaced.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, s)
	return `"` + s + `"`
}

// plain reports whether nft's scanner takes a string for one word.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		case strings.IndexByte("._-/:", c) >= 0 && (i > 0 || c == ':'):
		default:
			return false
		}
	}
	return s != ""
}

// str prints a constant that nft wrote as a string. Names of devices and the like are in quotes: they may be keywords.
func (p *printer) str(s string, t Type) {
	switch {
	case s == "*":
		p.put(s)
	case t.Text(), t.Name == "iface_index", t.Name == "day", t.Name == "hour", t.Name == "time" && t.Bits == 64,
		t.Name == "cgroupsv2", !plain(s):
		p.put(quote(s))
	default:
		p.put(s)
	}
}

// num prints a number the way its type is read best.
func (p *printer) num(n uint64, t Type) {
	switch {
	case t.Name == "mark":
		fmt.Fprintf(p, "0x%08x", n)
	case t.Bitmask() && t.Name != "ct_label":
		fmt.Fprintf(p, "0x%x", n)
	case t.Name == "time" && t.Bits == 32:
		p.put(duration(n))
	default:
		p.put(strconv.FormatUint(n, 10))
	}
}

// duration prints seconds as nft does, "1d2h".
func duration(s uint64) string {
	if s == 0 {
		return "0s"
	}
	var out strings.Builder
	for _, u := range []struct {
		name string
		len  uint64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		if n := s / u.len; n > 0 {
			out.WriteString(strconv.FormatUint(n, 10) + u.name)
			s %= u.len
		}
	}
	return out.String()
}

// opaque prints what was not understood. A JSON string is nft's own text for what it has no JSON for.
func (p *printer) opaque(raw json.RawMessage) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		p.put(printableLong(s))
		return
	}
	const most = 80
	s = printableLong(string(raw))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	p.put("<opaque: ", s, ">")
}

// printableLong makes a string safe to print.
func printableLong(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// list prints expressions with something between them.
func (p *printer) list(list []Expr, sep string, t Type) {
	for i, x := range list {
		if i > 0 {
			p.put(sep)
		}
		p.expr(x, t)
	}
}

// address reports whether a string is an address.
func address(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// ipv6 reports whether an expression is an IPv6 address, which needs brackets in front of a port.
func ipv6(e Expr) bool {
	s, ok := e.(Str)
	if !ok {
		return false
	}
	a, err := netip.ParseAddr(string(s))
	return err == nil && a.Is6()
}

// field returns the type of a concatenation's i-th field.
func (t Type) field(i int) Type {
	if i < len(t.Fields) {
		return t.Fields[i]
	}
	return Type{}
}

// precedence orders operators, the ones that bind tightest first.
func precedence(op string) int { return slices.Index([]string{"<<", ">>", "&", "^", "|"}, op) }

func (e Str) String() string        { return exprText(e) }
func (e Num) String() string        { return exprText(e) }
func (e Bool) String() string       { return exprText(e) }
func (e SetRef) String() string     { return exprText(e) }
func (e List) String() string       { return exprText(e) }
func (e Concat) String() string     { return exprText(e) }
func (e SetLit) String() string     { return exprText(e) }
func (e Pair) String() string       { return exprText(e) }
func (e Elem) String() string       { return exprText(e) }
func (e Prefix) String() string     { return exprText(e) }
func (e Range) String() string      { return exprText(e) }
func (e Map) String() string        { return exprText(e) }
func (e Payload) String() string    { return exprText(e) }
func (e RawPayload) String() string { return exprText(e) }
func (e Exthdr) String() string     { return exprText(e) }
func (e Option) String() string     { return exprText(e) }
func (e Meta) String() string       { return exprText(e) }
func (e RT) String() string         { return exprText(e) }
func (e CT) String() string         { return exprText(e) }
func (e FIB) String() string        { return exprText(e) }
func (e Generator) String() string  { return exprText(e) }
func (e Other) String() string      { return exprText(e) }
func (e Binary) String() string     { return exprText(e) }
func (e Verdict) String() string    { return exprText(e) }
func (e Opaque) String() string     { return exprText(e) }
