package cond

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// operand is what a match reads: the bits of a field under a mask, moved down, some of them turned over.
type operand struct {
	field space.Field
	typ   ruleset.Type
	mask  space.Value // before the move
	down  int
	flip  space.Value // after the move
	// short is how many bits the kernel reads at least (share.Field); 0: all.
	short int
	// fixed is the value that all packets of the device have.
	fixed *space.Value
	// packetType: it is to be told from the frame's address.
	packetType bool
	// family: the value is a netfilter family, the field has the EtherType.
	family bool
}

func operandOf(f space.Field, t ruleset.Type) operand {
	return operand{field: f, typ: t, mask: space.Highest(f.Len)}
}

// read is the field of a condition.
func (o operand) read() share.Field { return share.Field{At: o.field, Mask: o.mask, Short: o.short} }

// plain reports whether the operand is a field as it is.
func (o operand) plain() bool {
	return o.mask == space.Highest(o.field.Len) && o.down == 0 && o.flip.IsZero() && !o.packetType && !o.family
}

// operands compiles the left side of a match.
func (c *compiler) operands(e ruleset.Expr) ([]operand, *Refusal) {
	parts, ok := e.(ruleset.Concat)
	if !ok {
		parts = ruleset.Concat{e}
	}
	out := make([]operand, 0, len(parts))
	for _, part := range parts {
		o, no := c.operand(part)
		if no != nil {
			return nil, no
		}
		if len(parts) > 1 && o.packetType {
			return nil, refuse(reason.MatchNotEarly, "meta pkttype in a concatenation")
		}
		out = append(out, o)
	}
	return out, nil
}

func (c *compiler) operand(e ruleset.Expr) (operand, *Refusal) {
	switch e := e.(type) {
	case ruleset.Payload:
		return c.payload(e)
	case ruleset.RawPayload:
		f, t, ok := space.RawPayload(e)
		if !ok {
			return operand{}, refuse(reason.MatchNotEarly, "@"+e.Base)
		}
		return operandOf(f, t), nil
	case ruleset.Meta:
		return c.meta(e)
	case ruleset.Binary:
		return c.binary(e)
	}
	return operand{}, refuse(reason.MatchNotEarly, "an expression that reads no field")
}

func (c *compiler) meta(e ruleset.Meta) (operand, *Refusal) {
	known := func(f space.Field, v space.Value) (operand, *Refusal) {
		t, _ := ruleset.TypeOf(e, nil)
		o := operandOf(f, t)
		o.fixed = &v
		return o, nil
	}
	t, ok := ruleset.TypeOf(e, nil)
	if !ok || len(e.Extra) > 0 {
		return operand{}, refuse(reason.MatchNotEarly, "meta "+e.Key)
	}
	switch e.Key {
	case "protocol":
		return operandOf(space.L3Proto(), t), nil
	case "l4proto":
		return operandOf(space.L4Proto(), t), nil
	case "length":
		return operandOf(space.Length(), t), nil
	case "pkttype":
		o := operandOf(space.PacketType(), t)
		o.packetType = c.Frames
		return o, nil
	case "nfproto":
		if c.Table.Family == ruleset.Inet {
			o := operandOf(space.L3Proto(), t)
			o.family = true
			return o, nil
		}
	case "iif":
		return known(space.InDevice(), space.Name(c.Device))
	case "iifname":
		return known(space.InName(), space.Name(c.Device))
	case "iiftype":
		if c.Ethernet {
			return known(space.InType(), space.Number(arphrdEther))
		}
	}
	return operand{}, refuse(reason.MatchNotEarly, "meta "+e.Key)
}

const arphrdEther = 1 // include/uapi/linux/if_arp.h

// binary compiles an operation on bits with a constant.
func (c *compiler) binary(e ruleset.Binary) (operand, *Refusal) {
	arithmetic := refuse(reason.MatchNotEarly, "an operation that is not on the bits of a field and a constant")
	if len(e.Operands) < 2 {
		return operand{}, arithmetic
	}
	o, no := c.operand(e.Operands[0])
	if no != nil {
		return o, no
	}
	if o.packetType || o.family || o.fixed != nil {
		return o, arithmetic
	}
	for _, by := range e.Operands[1:] {
		if e.Op == ">>" {
			n, ok := by.(ruleset.Num)
			// Of more than a byte it matters in which order the kernel holds the bytes.
			if !ok || o.field.Len > 8 || int(n) >= o.field.Len {
				return o, arithmetic
			}
			o = o.shifted(int(n))
			continue
		}
		v, ok := o.constant(by)
		if !ok {
			return o, notConstant(o)
		}
		switch e.Op {
		case "&":
			o = o.and(v)
		case "|":
			o = o.and(space.Highest(o.field.Len).AndNot(v))
			o.flip = o.flip.Or(v)
		case "^":
			o.flip = o.flip.Xor(v)
		default:
			return o, arithmetic
		}
	}
	return o, nil
}

// and keeps only some bits.
func (o operand) and(v space.Value) operand {
	o.mask, o.flip = o.mask.And(v.ShiftLeft(o.down)), o.flip.And(v)
	return o
}

// shifted moves the bits down.
func (o operand) shifted(n int) operand {
	o.down += n
	o.mask, o.flip = o.mask.AndNot(space.Highest(o.down)), o.flip.ShiftRight(n)
	return o
}

// constant is the one value that a constant is; flags in a list are or-ed together.
func (o operand) constant(e ruleset.Expr) (space.Value, bool) {
	list, ok := e.(ruleset.List)
	if !ok {
		list = ruleset.List{e}
	}
	var all space.Value
	for _, one := range list {
		in, ok := space.ValuesOf(o.typ, o.field.Len, one)
		v, single := in.Single()
		if !ok || !single {
			return all, false
		}
		all = all.Or(v)
	}
	return all, len(list) > 0
}

// upTo notes that the kernel reads a prefix of whole bytes only (src/netlink_linearize.c netlink_gen_relational). From
// the listing that cannot be told from a mask, of which it reads all.
func (o operand) upTo(m ruleset.Match) operand {
	if p, ok := m.Right.(ruleset.Prefix); ok && p.Len > 0 && p.Len%8 == 0 && p.Len < o.field.Len {
		o.short = p.Len
	}
	return o
}

// mostProduct bounds the keys that one element stands for.
const mostProduct = 1 << 10

// keysOf is what an element of a set stands for: one key, or more where a mask leaves out bits in the middle.
func keysOf(os []operand, e ruleset.Expr) ([]share.Key, bool) {
	parts, ok := e.(ruleset.Concat)
	if !ok {
		parts = ruleset.Concat{e}
	}
	if e == ruleset.Str("*") {
		parts = slices.Repeat(ruleset.Concat{e}, len(os))
	}
	if len(parts) != len(os) {
		return nil, false
	}
	if len(os) == 1 {
		in, ok := space.ValuesOf(os[0].typ, os[0].field.Len, e)
		keys := make([]share.Key, len(in))
		for i := range in {
			keys[i] = share.Key(in[i : i+1])
		}
		return keys, ok
	}
	out := []share.Key{{}}
	for i, o := range os {
		in, ok := space.ValuesOf(o.typ, o.field.Len, parts[i])
		if !ok || len(out)*len(in) > mostProduct {
			return nil, false
		}
		var next []share.Key
		for _, k := range out {
			for _, iv := range in {
				next = append(next, append(slices.Clip(k), iv))
			}
		}
		out = next
	}
	return out, true
}

// lowered are keys of operands as keys of the fields that they read, without those that no packet has. It is false
// where a range is no range of the field.
func lowered(os []operand, keys []share.Key) ([]share.Key, bool) {
	if !slices.ContainsFunc(os, func(o operand) bool { return !o.plain() || o.fixed != nil }) {
		return keys, true
	}
	out := make([]share.Key, 0, len(keys))
	for _, k := range keys {
		ks := []share.Key{{}}
		for i, o := range os {
			if o.fixed != nil {
				if !(space.Set{k[i]}).Contains(*o.fixed) {
					ks = nil
				}
				continue
			}
			in, ok := o.lower(k[i])
			if !ok {
				return nil, false
			}
			ks = product(ks, in)
		}
		out = append(out, ks...)
	}
	return out, true
}

func product(ks []share.Key, in []space.Interval) []share.Key {
	var out []share.Key
	for _, k := range ks {
		for _, iv := range in {
			out = append(out, append(slices.Clip(k), iv))
		}
	}
	return out
}

// lower is the values of the field for which the operand has those of an interval.
func (o operand) lower(iv space.Interval) ([]space.Interval, bool) {
	if o.family {
		return families(iv), true
	}
	if o.plain() {
		return []space.Interval{iv}, true
	}
	if iv.First != iv.Last {
		// The order of the bits is kept by masks and moves.
		if !o.flip.IsZero() {
			return nil, false
		}
		top := space.Highest(o.field.Len - o.down)
		if iv.First.Compare(top) > 0 {
			return nil, true
		}
		if iv.Last.Compare(top) > 0 {
			iv.Last = top
		}
		return []space.Interval{{First: iv.First.ShiftLeft(o.down), Last: iv.Last.ShiftLeft(o.down)}}, true
	}
	v := iv.First.Xor(o.flip)
	up := v.ShiftLeft(o.down)
	if up.ShiftRight(o.down) != v || !up.AndNot(o.mask).IsZero() {
		return nil, true // a bit that the mask or the move took away
	}
	return []space.Interval{interval(up)}, true
}

// families are the EtherTypes of netfilter families. Packets of other types come to no rule of family inet.
func families(iv space.Interval) []space.Interval {
	const nfIPv4, nfIPv6 = 2, 10 // include/uapi/linux/netfilter.h
	var out []space.Interval
	if (space.Set{iv}).Contains(space.Number(nfIPv4)) {
		out = append(out, interval(space.Number(etherIPv4)))
	}
	if (space.Set{iv}).Contains(space.Number(nfIPv6)) {
		out = append(out, interval(space.Number(etherIPv6)))
	}
	return out
}

func notConstant(os ...operand) *Refusal {
	what := "a field"
	if len(os) == 1 {
		what = os[0].field.String()
	}
	return refuse(reason.MatchNotEarly, what+" compared with something that is no constant")
}
