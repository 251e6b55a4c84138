package space

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// compare is the packets for which a comparison holds.
func (s Scan) compare(o operand, op string, right ruleset.Expr) Space {
	space, ok := Space{}, false
	switch {
	case o.mask != nil:
		space, ok = s.compareMasked(o, op, right)
	case op == "in" || op == "!":
		space, ok = s.compareBits(o, op, right)
	default:
		space, ok = s.compareValue(o, op, right)
	}
	if !ok {
		// The field has to be there all the same.
		space = Where(o.field, Full(o.field.Len)).Loose()
	}
	return space.Meet(o.deps)
}

func (s Scan) compareValue(o operand, op string, right ruleset.Expr) (Space, bool) {
	in, exact, ok := s.values(o, right)
	if !ok {
		return Space{}, false
	}
	var space Space
	switch op {
	case "==":
		space = o.where(in)
	case "!=":
		if !exact {
			return Space{}, false // the complement would be too small
		}
		space = o.where(in.Not(o.field.Len))
	default:
		v, single := in.Single()
		if !single {
			return Space{}, false
		}
		in, ok := ordered(op, v, o.field.Len)
		if !ok {
			return Space{}, false
		}
		space = o.where(in)
	}
	if !exact {
		space = space.Loose()
	}
	return space, true
}

// ordered is the values of a width that are below or above another.
func ordered(op string, v Value, width int) (Set, bool) {
	all := Full(width)
	switch op {
	case "<=":
		return all.Meet(Span(Value{}, v)), true
	case ">=":
		return all.Meet(Span(v, Highest(width))), true
	case "<":
		return all.Meet(Span(v, Highest(width)).Not(width)), true
	case ">":
		return all.Meet(Span(Value{}, v).Not(width)), true
	}
	return nil, false
}

// compareBits is "in", some of the bits are set, and "!", none is. For what has no bits, "in" is "==".
func (s Scan) compareBits(o operand, op string, right ruleset.Expr) (Space, bool) {
	if !o.typ.Bitmask() {
		if op == "!" {
			return Space{}, false
		}
		return s.compareValue(o, "==", right)
	}
	if _, ok := right.(ruleset.SetLit); ok {
		return s.compareValue(o, "==", right)
	}
	if _, ok := right.(ruleset.SetRef); ok {
		return s.compareValue(o, "==", right)
	}
	bits, ok := flags(o, right)
	if !ok {
		return Space{}, false
	}
	if o.typ.Name == "ct_state" {
		return Where(o.field, oneOf(bits, op == "!")), true
	}
	none := Mask{Bits: bits}
	if op == "!" {
		return whereMask(o.field, none), true
	}
	in, ok := none.intervals(o.field.Len)
	if !ok {
		return Space{}, false
	}
	return Where(o.field, in.Not(o.field.Len)), true
}

// oneOf is the conntrack states whose bit is set, or is not set. A packet has one state
// (net/netfilter/nft_ct.c nft_ct_get_eval).
func oneOf(bits Value, not bool) Set {
	var out []Interval
	for i := range 32 {
		if bits.bit(i) != not {
			v := Number(1).ShiftLeft(i)
			out = append(out, Interval{v, v})
		}
	}
	return SetOf(out)
}

// compareMasked is `FIELD & MASK OP VALUE`.
func (s Scan) compareMasked(o operand, op string, right ruleset.Expr) (Space, bool) {
	in, exact, ok := s.values(o, right)
	if !ok {
		return Space{}, false
	}
	v, single := in.Single()
	if op == "in" {
		op = "=="
	}
	if op == "==" && single {
		space := whereMask(o.field, Mask{*o.mask, v})
		if !exact {
			space = space.Loose()
		}
		return space, true
	}
	all, ok := maskedSet(o, in)
	if !ok {
		return Space{}, false
	}
	switch {
	case op == "==" && exact:
		return o.where(all), true
	case op == "==":
		return o.where(all).Loose(), true
	case op == "!=" && exact:
		return o.where(all.Not(o.field.Len)), true
	}
	return Space{}, false
}

// maskedSet is the values of a field that are in a set after masking; false where that has no short form.
func maskedSet(o operand, in Set) (Set, bool) {
	const most = 64
	var out Set
	for i, iv := range in {
		if iv.First != iv.Last || i >= most {
			return nil, false
		}
		one, ok := Mask{*o.mask, iv.First}.intervals(o.field.Len)
		if !ok {
			return nil, false
		}
		out = out.Join(one)
	}
	return out, true
}

// where is Where, and what the value of one field says about another.
func (o operand) where(in Set) Space {
	space := Where(o.field, in)
	if space.Empty() {
		return space
	}
	if o.field == nfproto() {
		return space.Meet(familyDeps(in))
	}
	switch o.names {
	case namesTransport:
		// A packet whose header is malformed has no meta l4proto.
		return space.Meet(implied(L4Proto(), in))
	case namesNext:
		if !slices.ContainsFunc(extensionHeaders(), func(n uint64) bool { return in.Contains(Number(n)) }) {
			return space.Meet(implied(L4Proto(), in))
		}
	case namesNothing:
	}
	return space
}

// familyDeps is what meta nfproto says about meta protocol. In netdev chains it is neither of the two.
func familyDeps(in Set) Space {
	switch v, _ := in.Single(); v {
	case Number(nfIPv4):
		return Where(L3Proto(), One(Number(etherIPv4)))
	case Number(nfIPv6):
		return Where(L3Proto(), One(Number(etherIPv6)))
	}
	return Everything()
}

// extensionHeaders are the next headers of IPv6 that are not the transport header (RFC 7045, and no next header).
func extensionHeaders() []uint64 { return []uint64{0, 43, 44, 50, 51, 59, 60, 135, 139, 140, 253, 254} }
