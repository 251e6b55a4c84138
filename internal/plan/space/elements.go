package space

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Reader makes spaces of the rules of a ruleset. It keeps what it has read of named sets, which many rules may use.
type Reader struct {
	sets map[*ruleset.Set]*knownSet
}

// knownSet is a named set as a reader knows it.
type knownSet struct {
	// volatile: rules change it while packets pass, or nothing is known of its elements.
	volatile bool
	// changes: somebody else may change it.
	changes bool
	// shrinks: elements time out. What is not in the set now is not known.
	shrinks bool
	parts   map[part]values
}

// part is a component of the elements of a set, read as values of a type.
type part struct {
	index int    // -1: the elements themselves
	typ   string // datatype
	bits  int
}

type values struct {
	in        Set
	exact, ok bool
}

// NewReader reads a ruleset. The ruleset must not change while the reader is in use; with changing, the elements of named
// sets may all the same, but for those of constant sets: a lookup in one says nothing then of the values of a field.
func NewReader(rs *ruleset.Ruleset, changing bool) *Reader {
	r := &Reader{sets: map[*ruleset.Set]*knownSet{}}
	for _, t := range rs.Tables {
		for _, s := range t.Sets {
			r.sets[s] = &knownSet{
				volatile: slices.Contains(s.Flags, "dynamic"),
				changes:  changing && !slices.Contains(s.Flags, "constant"),
				shrinks:  s.Timeout > 0 || slices.Contains(s.Flags, "timeout"),
				parts:    map[part]values{},
			}
		}
		for _, c := range t.Chains {
			r.updated(t, c)
		}
	}
	return r
}

// updated notes the sets that the rules of a chain change.
func (r *Reader) updated(t *ruleset.Table, c *ruleset.Chain) {
	for _, rule := range c.Rules {
		for _, stmt := range rule.Stmts {
			u, ok := stmt.(ruleset.SetUpdate)
			if !ok {
				continue
			}
			if s := r.sets[t.Set(string(u.Set))]; s != nil {
				s.volatile = true
			}
		}
	}
}

// unknown reports whether nothing can be said of the elements.
func (s *knownSet) unknown() bool { return s.volatile || s.changes }

// Changes reports whether the elements of a set may become others, or fewer.
func (r *Reader) Changes(s *ruleset.Set) bool {
	return r.sets[s] == nil || r.sets[s].unknown() || r.sets[s].shrinks
}

// Volatile reports whether rules change a set while packets pass.
func (r *Reader) Volatile(s *ruleset.Set) bool { return r.sets[s] == nil || r.sets[s].volatile }

// elements are those of a set, anonymous or named. Of a named one comes what is known, too.
func (s Scan) elements(e ruleset.Expr) ([]ruleset.Expr, *knownSet, bool) {
	switch e := e.(type) {
	case ruleset.SetLit:
		return e, nil, true
	case ruleset.SetRef:
		set := s.table.Set(string(e))
		n := s.r.sets[set]
		if set == nil || n == nil {
			return nil, nil, false
		}
		return set.Elems, n, true
	}
	return nil, nil, false
}

// values are what the right side of a comparison stands for; not exact when the field may have others, too.
func (s Scan) values(o operand, e ruleset.Expr) (in Set, exact, ok bool) {
	if _, isRef := e.(ruleset.SetRef); isRef {
		v := s.component(-1, o, e)
		return v.in, v.exact, v.ok
	}
	if lit, isLit := e.(ruleset.SetLit); isLit {
		v := union(-1, o, lit)
		return v.in, v.exact, v.ok
	}
	in, ok = ValuesOf(o.typ, o.field.Len, e)
	return in, true, ok
}

// component is the values of one component in the elements of a set.
func (s Scan) component(index int, o operand, e ruleset.Expr) values {
	elems, set, ok := s.elements(e)
	if !ok || set != nil && (set.unknown() || len(elems) == 0) {
		return values{} // a named set that is empty waits for its elements
	}
	if set == nil {
		return union(index, o, elems)
	}
	p := part{index, o.typ.Name, o.field.Len}
	v, have := set.parts[p]
	if !have {
		v = union(index, o, elems)
		v.exact = v.exact && !set.shrinks
		set.parts[p] = v
	}
	return v
}

// union is the values of a component in elements.
func union(index int, o operand, elems []ruleset.Expr) values {
	ivs := make([]Interval, 0, len(elems))
	for _, e := range elems {
		key := KeyOf(e)
		if index >= 0 && key != ruleset.Str("*") {
			c, ok := key.(ruleset.Concat)
			if !ok || index >= len(c) {
				return values{}
			}
			key = c[index]
		}
		in, ok := ValuesOf(o.typ, o.field.Len, key)
		if !ok {
			return values{}
		}
		ivs = append(ivs, in...)
	}
	return values{in: SetOf(ivs), exact: true, ok: true}
}

// lookup is what gets past the comparison of a concatenation with a set of concatenations: what each component may be
// by itself, which is exact for one element.
func (s Scan) lookup(keys ruleset.Concat, m ruleset.Match) Scan {
	elems, set, known := s.elements(m.Right)
	if c, ok := m.Right.(ruleset.Concat); ok {
		elems, known = []ruleset.Expr{c}, true
		m.Right = ruleset.SetLit(elems)
	}
	exact := known && m.Op == "==" && len(elems) == 1 && (set == nil || !set.shrinks && !set.unknown())
	for i, key := range keys {
		next, o, ok := s.operand(key)
		s = next
		if !ok || o.mask != nil {
			exact = false
			continue
		}
		v := values{}
		if known && m.Op == "==" {
			v = s.component(i, o, m.Right)
		}
		if !v.ok {
			exact = false
			v.in = Full(o.field.Len)
		}
		s = s.With(o.where(v.in).Meet(o.deps))
	}
	if !exact {
		s.Space = s.Space.Loose()
	}
	return s
}

// KeyOf is the key of an element, without what else is said about it.
func KeyOf(e ruleset.Expr) ruleset.Expr {
	for {
		switch v := e.(type) {
		case ruleset.Elem:
			e = v.Val
		case ruleset.Pair:
			e = v.Key
		default:
			return e
		}
	}
}

// pairOf is the key and data of an element of a map.
func pairOf(e ruleset.Expr) (ruleset.Pair, bool) {
	if outer, ok := e.(ruleset.Elem); ok {
		e = outer.Val
	}
	p, ok := e.(ruleset.Pair)
	return p, ok
}
