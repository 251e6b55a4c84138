package cond

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Sets are the named sets that were read.
type Sets struct{ seen map[*ruleset.Set]*known }

// known is a set, or why it is none.
type known struct {
	set share.Set
	no  *Refusal
}

// NewSets returns a Sets that has read nothing.
func NewSets() *Sets { return &Sets{seen: map[*ruleset.Set]*known{}} }

// Share is a set that some condition names.
func (s *Sets) Share(of *ruleset.Set) share.Set {
	if k := s.seen[of]; k != nil {
		return k.set
	}
	return share.Set{}
}

// named asks whether a value is in a named set.
func (c *compiler) named(os []operand, not bool, name ruleset.SetRef) *Refusal {
	set := c.Table.Set(string(name))
	if set == nil {
		return refuse(reason.OpaqueStatement, "set "+string(name)+" is not in the ruleset")
	}
	fields, no := c.namedFields(os, set)
	if no != nil {
		return no
	}
	c.append(Cond{Cond: share.Cond{Fields: fields, Not: not, Named: true}, Of: set})
	return nil
}

// namedFields are the fields that are looked up in a named set.
func (c *compiler) namedFields(os []operand, set *ruleset.Set) ([]share.Field, *Refusal) {
	if no := c.Sets.read(set, os); no != nil {
		return nil, no
	}
	var fields []share.Field
	for _, o := range os {
		f := o.read()
		if o.packetType || o.family || o.down != 0 || !o.flip.IsZero() || o.fixed != nil {
			return nil, refuse(reason.MatchNotEarly, "a lookup in set "+set.Name+" of what no field of the packet has as it is")
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// read reads a set, whose keys are values of operands.
func (s *Sets) read(set *ruleset.Set, os []operand) *Refusal {
	k := s.seen[set]
	if k == nil {
		k = &known{}
		k.set, k.no = setOf(set, os)
		s.seen[set] = k
	}
	if k.no != nil {
		return k.no
	}
	if !slices.Equal(k.set.Parts, parts(os)) {
		return refuse(reason.MatchNotEarly, "set "+set.Name+" has keys of another type")
	}
	return nil
}

func parts(os []operand) []share.Part {
	out := make([]share.Part, 0, len(os))
	for _, o := range os {
		out = append(out, share.Part{Bits: o.field.Len, Host: o.typ.Host})
	}
	return out
}

// setOf is a named set as a share has it. Which types its keys have is told by what is looked up: nft 1.0.6 does not
// list those of a `typeof` in full.
func setOf(set *ruleset.Set, os []operand) (share.Set, *Refusal) {
	out := share.Set{
		Family: set.Family, Table: set.Table, Name: set.Name, Parts: parts(os), Ranges: slices.Contains(set.Flags, "interval"),
		Verdicts: slices.Equal(set.MapType, []string{"verdict"}), Size: int(min(set.Size, 1<<31)),
	}
	if t, ok := set.KeyType(); ok && !fits(t, out.Parts) {
		return out, refuse(reason.MatchNotEarly, "set "+set.Name+" has keys of another type")
	}
	for _, e := range set.Elems {
		el, ok := elem(os, e, out.Verdicts)
		if !ok {
			return out, refuse(reason.OpaqueStatement, "an element of set "+set.Name)
		}
		out.Elems = append(out.Elems, el...)
	}
	return out, nil
}

// fits reports whether values of a type are keys of some parts.
func fits(t ruleset.Type, ps []share.Part) bool {
	fields := t.Fields
	if fields == nil {
		fields = []ruleset.Type{t}
	}
	return slices.EqualFunc(fields, ps, func(f ruleset.Type, p share.Part) bool { return f.Bits == p.Bits })
}

// elem is an element of a set; of several keys where its mask leaves out bits in the middle.
func elem(os []operand, e ruleset.Expr, verdicts bool) ([]share.Elem, bool) {
	var one share.Elem
	if p, ok := e.(ruleset.Pair); ok {
		v, isVerdict := p.Data.(ruleset.Verdict)
		if verdicts != isVerdict {
			return nil, false
		}
		one.Verdict = v.Kind
		e = p.Key
	}
	if x, ok := e.(ruleset.Elem); ok {
		const millisecond = 1000
		one.Expires = int(min(x.Expires, 1<<40)) * millisecond
	}
	if space.KeyOf(e) == ruleset.Str("*") {
		return nil, false
	}
	whole := make([]operand, len(os))
	for i, o := range os {
		whole[i] = operandOf(o.field, o.typ)
	}
	keys, ok := keysOf(whole, space.KeyOf(e))
	out := make([]share.Elem, 0, len(keys))
	for _, k := range keys {
		one.Key = k
		out = append(out, one)
	}
	return out, ok
}
