package eval

import (
	"bytes"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// set is a set or map: elements are intervals in every field of the key.
type set struct {
	types    []dtype
	elems    []element
	catchAll *element
	broken   error // an element could not be read: nothing can be said about a lookup that finds no other
}

// element is one element of a set.
type element struct {
	key  []interval
	data ruleset.Expr // of a map
	// doubtful elements carry statements that may break the rule: limit, quota.
	doubtful string
}

// namedSet compiles a set of a table.
func (e *Evaluator) namedSet(t *ruleset.Table, s *ruleset.Set) *set {
	c := &compiler{e: e, table: t, rule: &rule{}}
	out := &set{}
	for _, name := range s.Type {
		d, ok := typeOf(name)
		if !ok {
			out.broken = fmt.Errorf("type %s of set %s: %w", name, s.Name, errNotKnown)
			return out
		}
		out.types = append(out.types, d)
	}
	if s.TypeOf != nil {
		o, err := c.expression(s.TypeOf, dtype{})
		if err != nil {
			out.broken = err
			return out
		}
		out.types = o.types
	}
	c.elements(out, s.Elems)
	return out
}

// anonymous compiles a set that is written in a rule.
func (c *compiler) anonymous(s ruleset.SetLit, types []dtype) *set {
	out := &set{types: types}
	c.elements(out, s)
	return out
}

func (c *compiler) elements(s *set, es []ruleset.Expr) {
	for _, e := range es {
		if err := c.element(s, e); err != nil {
			s.broken = err
		}
	}
}

func (c *compiler) element(s *set, e ruleset.Expr) error {
	var el element
	if p, ok := e.(ruleset.Pair); ok {
		el.data = p.Data
		e = p.Key
	}
	if x, ok := e.(ruleset.Elem); ok {
		e = x.Val
		el.doubtful = doubtful(x.Stmts)
	}
	if e == ruleset.Expr(ruleset.Str("*")) {
		s.catchAll = &el
		return nil
	}
	fields := []ruleset.Expr{e}
	if cat, ok := e.(ruleset.Concat); ok {
		fields = cat
	}
	if len(fields) != len(s.types) {
		return fmt.Errorf("element of %d fields in a set of %d: %w", len(fields), len(s.types), errNotConstant)
	}
	for i, x := range fields {
		in, err := c.constant(x, s.types[i])
		if err != nil {
			return err
		}
		el.key = append(el.key, in)
	}
	s.elems = append(s.elems, el)
	return nil
}

// doubtful names a statement of an element that may break the rule.
func doubtful(stmts []ruleset.Stmt) string {
	for _, s := range stmts {
		switch s.(type) {
		case ruleset.Counter:
		case ruleset.Limit:
			return "limit"
		case ruleset.Quota:
			return "quota"
		case ruleset.CTCount:
			return "ct count"
		default:
			return "element statement"
		}
	}
	return ""
}

// find returns the element that holds a key.
func (s *set) find(key []byte) *element {
	for i := range s.elems {
		if s.elems[i].has(key, s.types) {
			return &s.elems[i]
		}
	}
	return s.catchAll
}

func (e *element) has(key []byte, types []dtype) bool {
	for i, d := range types {
		n := d.bytes()
		if len(key) < n || !e.key[i].has(key[:n]) {
			return false
		}
		key = key[n:]
	}
	return true
}

// source returns the set behind "@name" or a set in a rule.
func (c *compiler) source(e ruleset.Expr, types []dtype) (*set, error) {
	switch e := e.(type) {
	case ruleset.SetRef:
		if s := c.e.tables[c.table].sets[string(e)]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("set %s: %w", e, errNotKnown)
	case ruleset.SetLit:
		return c.anonymous(e, types), nil
	}
	return nil, fmt.Errorf("look up in %T: %w", e, errNotKnown)
}

// lookup looks a key up and says what may be said about it.
func (s *set) lookup(r *run, key load) (*element, status) {
	v, st := key(r)
	if st != known {
		return nil, st
	}
	el := s.find(v)
	switch {
	case (el == nil || el == s.catchAll) && s.broken != nil:
		return nil, r.missing(FactOpaque, s.broken.Error())
	case el != nil && el.doubtful != "":
		return nil, r.missing(FactState, el.doubtful)
	}
	return el, known
}

// mapping compiles the lookup of a value in a map.
func (c *compiler) mapping(e ruleset.Map, want dtype) (operand, error) {
	key, err := c.expression(e.Key, dtype{})
	if err != nil {
		return key, err
	}
	s, err := c.source(e.Data, key.types)
	if err != nil {
		return key, err
	}
	if want.bits == 0 {
		return key, fmt.Errorf("map of values without a type: %w", errNotKnown)
	}
	return one(func(r *run) ([]byte, status) {
		el, st := s.lookup(r, key.load)
		if st != known {
			return nil, st
		}
		if el == nil {
			return nil, broke
		}
		i, err := c.constant(el.data, want)
		if err != nil {
			return nil, r.missing(FactOpaque, err.Error())
		}
		return i.lo, known
	}, want), nil
}

// change adds an element, or takes one away.
func (s *set) change(remove bool, key []byte, data ruleset.Expr) {
	var fields []interval
	for _, d := range s.types {
		n := min(d.bytes(), len(key))
		fields = append(fields, single(bytes.Clone(key[:n])))
		key = key[n:]
	}
	for i := range s.elems {
		if !sameKey(s.elems[i].key, fields) {
			continue
		}
		if remove {
			s.elems = append(s.elems[:i:i], s.elems[i+1:]...)
		}
		return
	}
	if !remove {
		s.elems = append(s.elems, element{key: fields, data: data})
	}
}

func sameKey(a, b []interval) bool {
	for i := range a {
		if !bytes.Equal(a[i].lo, b[i].lo) || !bytes.Equal(a[i].hi, b[i].hi) {
			return false
		}
	}
	return true
}
