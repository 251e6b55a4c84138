package space

import "github.com/nft-offload/nft-offload/internal/ruleset"

// mostCrossing bounds the elements that are compared with each other.
const mostCrossing = 1024

// cross reports whether elements of a map of concatenations may have keys in common. The kernel takes elements with
// intervals that cross, and of those the one that was there first decides (net/netfilter/nft_set_pipapo.c).
func (s Scan) cross(key ruleset.Expr, elems []ruleset.Expr) bool {
	keys, ok := key.(ruleset.Concat)
	if !ok {
		return false
	}
	os := make([]operand, len(keys))
	known := true
	for i, k := range keys {
		var ok bool
		s, os[i], ok = s.operand(k)
		known = known && ok
	}
	var boxes [][]Set
	intervals := false
	for _, e := range elems {
		c, ok := KeyOf(e).(ruleset.Concat)
		if !ok {
			continue // that of all other keys
		}
		box := make([]Set, len(c))
		for i, part := range c {
			single := scalar(part)
			if known && i < len(os) {
				in, ok := ValuesOf(os[i].typ, os[i].field.Len, part)
				if !ok {
					known = false
				}
				box[i] = in
				_, one := in.Single()
				single = single && one
			}
			intervals = intervals || !single
		}
		boxes = append(boxes, box)
	}
	return intervals && (!known || len(boxes) > mostCrossing || anyCross(boxes))
}

// scalar reports whether a constant is one value as it is written.
func scalar(e ruleset.Expr) bool {
	switch e.(type) {
	case ruleset.Str, ruleset.Num, ruleset.Bool:
		return true
	}
	return false
}

func anyCross(boxes [][]Set) bool {
	for i := range boxes {
		for j := range i {
			if common(boxes[i], boxes[j]) {
				return true
			}
		}
	}
	return false
}

// common reports whether two boxes have a point in common.
func common(a, b []Set) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Disjoint(b[i]) {
			return false
		}
	}
	return true
}
