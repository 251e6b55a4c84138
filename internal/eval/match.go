package eval

import (
	"bytes"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// test is a comparison of a value.
type test func(r *run, v []byte) (bool, status)

// match compiles a comparison.
func (c *compiler) match(m ruleset.Match) error {
	left, err := c.expression(m.Left, dtype{})
	if err != nil {
		return err
	}
	if len(left.types) == 0 {
		return fmt.Errorf("match of nothing: %w", errNotKnown)
	}
	left = shortened(m, left)
	t, err := c.comparison(m, left)
	if err != nil {
		return err
	}
	c.emit(func(r *run) status {
		v, st := left.load(r)
		if st != known {
			return st
		}
		ok, st := t(r, v)
		if st == known && !ok {
			return broke
		}
		return st
	})
	c.learn(m)
	return nil
}

// shortened reads no more of a field than a prefix of whole bytes needs, as nft does: that much may be there where the
// packet ends inside the field.
func shortened(m ruleset.Match, left operand) operand {
	l, isField := m.Left.(ruleset.Payload)
	p, isPrefix := m.Right.(ruleset.Prefix)
	if !isField || !isPrefix || p.Len == 0 || p.Len%8 != 0 {
		return left
	}
	short := fields(l.Proto)[l.Field]
	full := short.typ.bytes()
	short.typ.bits = min(p.Len, short.typ.bits)
	load := short.load()
	return one(func(r *run) ([]byte, status) {
		v, st := load(r)
		if st != known {
			return nil, st
		}
		return append(bytes.Clone(v), make([]byte, full-len(v))...), known
	}, left.types[0])
}

func (c *compiler) comparison(m ruleset.Match, left operand) (test, error) {
	if _, ok := m.Left.(ruleset.FIB); ok {
		if found, ok := m.Right.(ruleset.Bool); ok {
			return exists(bool(found) == (m.Op != "!=")), nil
		}
	}
	switch right := m.Right.(type) {
	case ruleset.SetRef, ruleset.SetLit:
		return c.membership(m.Op, right, left)
	case ruleset.Map, ruleset.Payload, ruleset.Meta, ruleset.CT:
		return c.between(m.Op, right, left)
	}
	if m.Op == "in" || m.Op == "!" {
		return c.anyFlag(m, left.types[0])
	}
	return c.ordered(m, left)
}

// exists asks whether a lookup found anything.
func exists(want bool) test {
	return func(_ *run, v []byte) (bool, status) {
		return (len(bytes.Trim(v, "\x00")) != 0) == want, known
	}
}

// membership asks whether a set has the value.
func (c *compiler) membership(op string, e ruleset.Expr, left operand) (test, error) {
	s, err := c.source(e, left.types)
	if err != nil {
		return nil, err
	}
	return func(r *run, v []byte) (bool, status) {
		el, st := s.lookup(r, func(*run) ([]byte, status) { return v, known })
		return (el != nil) != (op == "!="), st
	}, nil
}

// between compares with a value that is computed, too.
func (c *compiler) between(op string, e ruleset.Expr, left operand) (test, error) {
	right, err := c.expression(e, left.types[0])
	if err != nil {
		return nil, err
	}
	return func(r *run, v []byte) (bool, status) {
		w, st := right.load(r)
		if st != known {
			return false, st
		}
		ok, err := compare(op, v, single(w))
		if err != nil {
			return false, r.missing(FactOpaque, err.Error())
		}
		return ok, known
	}, nil
}

// anyFlag asks whether one of the bits of the right side is set, "!" whether none is. With == and != all bits count.
func (c *compiler) anyFlag(m ruleset.Match, d dtype) (test, error) {
	mask, err := c.bitwiseConstant(m.Right, d)
	if err != nil {
		return nil, err
	}
	want := m.Op != "!"
	return func(_ *run, v []byte) (bool, status) {
		and, err := bitwise("&", v, mask, d.bits)
		return (err == nil && len(bytes.Trim(and, "\x00")) != 0) == want, known
	}, nil
}

// ordered compares with a constant, field by field where there are several.
func (c *compiler) ordered(m ruleset.Match, left operand) (test, error) {
	parts := []ruleset.Expr{m.Right}
	if cat, ok := m.Right.(ruleset.Concat); ok {
		parts = cat
	}
	if len(parts) != len(left.types) {
		return nil, fmt.Errorf("compare %d fields with %d: %w", len(left.types), len(parts), errNotConstant)
	}
	var want []interval
	for i, p := range parts {
		in, err := c.constant(p, left.types[i])
		if err != nil {
			return nil, err
		}
		want = append(want, in)
	}
	if len(want) == 1 {
		if _, err := compare(m.Op, want[0].lo, want[0]); err != nil {
			return nil, err
		}
		return func(_ *run, v []byte) (bool, status) {
			ok, _ := compare(m.Op, v, want[0])
			return ok, known
		}, nil
	}
	el := element{key: want}
	return func(_ *run, v []byte) (bool, status) {
		return el.has(v, left.types) == (m.Op == "=="), known
	}, nil
}

// compare compares numbers.
func compare(op string, v []byte, with interval) (bool, error) {
	order := bytes.Compare(v, with.lo)
	switch op {
	case "==":
		return with.has(v), nil
	case "!=":
		return !with.has(v), nil
	case "<":
		return order < 0, nil
	case ">":
		return order > 0, nil
	case "<=":
		return order <= 0, nil
	case ">=":
		return order >= 0, nil
	}
	return false, fmt.Errorf("compare with %q: %w", op, errNotKnown)
}
