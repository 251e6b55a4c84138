package space

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// valuesOf is what a constant, a prefix or a range stands for.
func valuesOf(typ string, width int, e ruleset.Expr) (Set, bool) {
	switch e := e.(type) {
	case ruleset.Prefix:
		v, ok := constant(typ, width, e.Addr)
		if !ok || e.Len < 0 || e.Len > width {
			return nil, false
		}
		free := highest(width - e.Len)
		return Span(v.andNot(free), v.or(free)), true
	case ruleset.Range:
		from, ok1 := constant(typ, width, e.From)
		to, ok2 := constant(typ, width, e.To)
		return Span(from, to), ok1 && ok2
	case ruleset.Elem:
		return valuesOf(typ, width, e.Val)
	case ruleset.Str:
		if e == "*" {
			return full(width), true
		}
		if prefix, ok := wildcard(typ, string(e)); ok {
			free := highest(valueBits - 8*len(prefix))
			return Span(Name(prefix), Name(prefix).or(free)), true
		}
	}
	v, ok := constant(typ, width, e)
	if !ok || v.Compare(highest(width)) > 0 {
		return nil, false
	}
	return One(v), true
}

// wildcard is the prefix in a name that ends in an asterisk.
func wildcard(typ, name string) (string, bool) {
	prefix, ok := strings.CutSuffix(name, "*")
	if !ok || typ != "ifname" || strings.HasSuffix(prefix, `\`) || len(prefix) > valueBits/8 {
		return "", false
	}
	return prefix, true
}

// constant is the value of a constant of a type.
func constant(typ string, width int, e ruleset.Expr) (Value, bool) {
	switch e := e.(type) {
	case ruleset.Num:
		// A device that has gone is listed by its number.
		return Number(uint64(e)), typ != "ifname" && typ != "iface_index"
	case ruleset.Bool:
		return Number(map[bool]uint64{true: 1}[bool(e)]), width == 1
	case ruleset.Str:
		return symbol(typ, width, string(e))
	case ruleset.List:
		return flags(operand{typ: typ, field: Field{Len: width}}, e)
	case ruleset.Binary:
		if e.Op == "|" {
			return flags(operand{typ: typ, field: Field{Len: width}}, ruleset.List(e.Operands))
		}
	}
	return Value{}, false
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
		return constant(o.typ, o.field.Len, e)
	}
	var all Value
	for _, one := range list {
		v, ok := constant(o.typ, o.field.Len, one)
		if !ok {
			return Value{}, false
		}
		all = all.or(v)
	}
	return all, len(list) > 0
}

// symbol is the value of a constant that nft writes as a string.
func symbol(typ string, width int, s string) (Value, bool) {
	switch typ {
	case "ipv4_addr", "ipv6_addr":
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.BitLen() != width {
			return Value{}, false
		}
		return Bytes(a.AsSlice()), true
	case "ether_addr":
		a, err := net.ParseMAC(s)
		if err != nil || len(a) != 6 {
			return Value{}, false
		}
		return Bytes(a), true
	case "ifname", "iface_index":
		return Name(s), len(s) <= valueBits/8
	}
	if n, err := strconv.ParseUint(s, 0, 64); err == nil {
		return Number(n), true
	}
	n, ok := word(typ, s)
	return Number(n), ok
}
