package cond

import (
	"cmp"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Before version 1.1.0 nft joins matches of neighboring fields into one load and one comparison also where they are of
// inequality, which then asks for any of the fields to differ: `tcp sport != 22 tcp dport != 23` matches a packet from
// port 22 to port 80 (src/rule.c stmt_reduce). The listing shows what was written.

// Joined reports which matches of a rule are part of one comparison.
func (p Place) Joined(ms []ruleset.Match) map[int]bool {
	last, elsewhere := p.joined(ms)
	out := map[int]bool{}
	for i := range last {
		out[i] = true
	}
	for i := range elsewhere {
		out[i] = true
	}
	return out
}

// joined finds the members of each comparison, at its last one, and which matches are compared elsewhere.
func (p Place) joined(ms []ruleset.Match) (last map[int][]int, elsewhere map[int]bool) {
	if !p.Joins {
		return nil, nil
	}
	fields := map[int]space.Field{}
	var order []int
	for i, m := range ms {
		if f, ok := unequalField(m); ok {
			fields[i] = f
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(fields[i].Base, fields[j].Base), cmp.Compare(fields[i].Off, fields[j].Off))
	})
	last, elsewhere = map[int][]int{}, map[int]bool{}
	for len(order) > 0 {
		n, bits := 1, fields[order[0]].Len
		for n < len(order) && joins(fields[order[n-1]], bits, fields[order[n]]) {
			bits += fields[order[n]].Len
			n++
		}
		if n > 1 {
			at := slices.Max(order[:n])
			last[at] = slices.Clone(order[:n])
			for _, i := range order[:n] {
				if i != at {
					elsewhere[i] = true
				}
			}
		}
		order = order[n:]
	}
	return last, elsewhere
}

// unequalField is the field of a match that a whole field is not one value.
func unequalField(m ruleset.Match) (space.Field, bool) {
	p, ok := m.Left.(ruleset.Payload)
	if !ok || m.Op != "!=" {
		return space.Field{}, false
	}
	switch m.Right.(type) {
	case ruleset.Str, ruleset.Num, ruleset.Binary, ruleset.List:
	default:
		return space.Field{}, false
	}
	f, _, ok := space.Payload(p)
	return f, ok && f.Off%8 == 0 && f.Len%8 == 0
}

// joins reports whether a field joins fields of so many bits, the last of which is given (src/payload.c
// payload_can_merge).
func joins(last space.Field, bits int, next space.Field) bool {
	const word, register = 32, 128
	total := bits + next.Len
	return last.Base == next.Base && last.Off+last.Len == next.Off && total <= register &&
		(last.Base == space.Link || total <= word || bits > word || next.Len > word)
}

// unequal adds the condition that one of the fields of some matches differs.
func (c *compiler) unequal(ms []ruleset.Match, members []int) *Refusal {
	cond := Cond{Cond: share.Cond{Not: true}}
	key := share.Key{}
	for _, i := range members {
		o, no := c.operand(ms[i].Left)
		if no != nil {
			return no
		}
		v, ok := o.constant(ms[i].Right)
		if !ok {
			return notConstant(o)
		}
		cond.Fields, key = append(cond.Fields, o.read()), append(key, interval(v))
	}
	cond.Keys = []share.Key{key}
	c.append(cond)
	return nil
}
