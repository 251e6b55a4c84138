package eval

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// compiler turns one rule into operations, as nft does: it keeps track of which headers the rule has already asked for,
// and puts the questions before a statement that its author left out.
type compiler struct {
	e     *Evaluator
	table *ruleset.Table
	rule  *rule
	stmt  int
	ops   []op
	// What is known about the packet where the next statement runs (struct proto_ctx of nft).
	link, network, transport string
	icmpType                 bool
}

// load reads a value of the packet.
type load func(*run) ([]byte, status)

// operand is a compiled expression. types has more than one element in a concatenation, whose values are joined.
type operand struct {
	load  load
	types []dtype
}

func (e *Evaluator) compile(t *ruleset.Table, r *ruleset.Rule) *rule {
	c := &compiler{e: e, table: t, rule: &rule{rule: r}}
	switch t.Family {
	case ruleset.IP, ruleset.IP6, ruleset.ARP:
		c.network = string(t.Family)
	case ruleset.Bridge:
		c.link = "ether"
	case ruleset.Inet, ruleset.Netdev:
	}
	if r.Misread != "" {
		c.emit(opaque("the rule: " + r.Misread))
		c.rule.ops = c.ops
		return c.rule
	}
	one := map[int][]unequal{}
	if e.joins {
		one = joined(r.Stmts)
	}
	elsewhere := map[int]bool{}
	for last, members := range one {
		for _, m := range members {
			elsewhere[m.at] = m.at != last
		}
	}
	for i, s := range r.Stmts {
		c.stmt = i
		var err error
		switch {
		case elsewhere[i]:
		case one[i] != nil:
			err = c.joinedMatch(one[i])
		default:
			err = c.statement(s)
		}
		if err != nil {
			c.emit(opaque(err.Error()))
		}
	}
	c.rule.ops = c.ops
	return c.rule
}

// The widest and the farthest field that the kernel loads: 16 registers of 4 bytes, an offset of 16 bits.
const (
	widest   = 16 * 32
	farthest = 8 << 16
)

func (c *compiler) emit(do func(*run) status) { c.ops = append(c.ops, op{c.stmt, do}) }

// opaque is an operation of which nothing is known.
func opaque(why string) func(*run) status {
	return func(r *run) status { return r.missing(FactOpaque, why) }
}

// expression compiles an expression. Want is the type constants in it have, where the expression itself does not say.
func (c *compiler) expression(e ruleset.Expr, want dtype) (operand, error) {
	switch e := e.(type) {
	case ruleset.Payload:
		return c.payload(e)
	case ruleset.RawPayload:
		f := field{e.Base, e.Offset, dtype{"integer", e.Len}}
		if e.Len <= 0 || e.Len > widest || e.Offset < 0 || e.Offset > farthest {
			return operand{}, fmt.Errorf("%d bits at %d: %w", e.Len, e.Offset, errNotKnown)
		}
		return one(f.load(), f.typ), nil
	case ruleset.Meta:
		return c.meta(e)
	case ruleset.CT:
		return c.ct(e)
	case ruleset.Exthdr:
		return c.exthdr(e)
	case ruleset.Option:
		return c.option(e)
	case ruleset.FIB:
		return fib(e), nil
	case ruleset.RT:
		return missing(FactRouting, "rt "+e.Key, dtype{"integer", 32}), nil
	case ruleset.Generator:
		return missing(FactRandom, e.Kind, dtype{"integer", 32}), nil
	case ruleset.Other:
		return c.other(e), nil
	case ruleset.Binary:
		return c.binary(e, want)
	case ruleset.Concat:
		return c.concat(e, want)
	case ruleset.Map:
		return c.mapping(e, want)
	case ruleset.Opaque:
		return operand{}, fmt.Errorf("opaque expression: %w", errNotKnown)
	}
	i, err := c.constant(e, want)
	if err != nil {
		return operand{}, err
	}
	return one(func(*run) ([]byte, status) { return i.lo, known }, want), nil
}

func one(l load, d dtype) operand { return operand{l, []dtype{d}} }

func missing(k FactKind, what string, d dtype) operand {
	return one(func(r *run) ([]byte, status) { return nil, r.missing(k, what) }, d)
}

func (c *compiler) other(e ruleset.Other) operand {
	return missing(FactSocket, e.Kind+" "+e.Key, dtype{"integer", 32})
}

// binary compiles an operation on bits. The type is that of its first operand that is no constant.
func (c *compiler) binary(e ruleset.Binary, want dtype) (operand, error) {
	if len(e.Operands) == 0 {
		return operand{}, fmt.Errorf("%q without operands: %w", e.Op, errNotKnown)
	}
	left, err := c.expression(e.Operands[0], want)
	if err != nil {
		return left, err
	}
	if len(left.types) != 1 {
		return left, fmt.Errorf("%q of %d fields: %w", e.Op, len(left.types), errNotKnown)
	}
	d := left.types[0]
	if isConstant(e.Operands[0]) && want.bits != 0 {
		d = want
	}
	for _, o := range e.Operands[1:] {
		by := d
		if e.Op == "<<" || e.Op == ">>" {
			by = dtype{"integer", 32}
		}
		right, err := c.operandOf(o, by)
		if err != nil {
			return left, err
		}
		left = one(combine(e.Op, left.load, right.load, d.bits), d)
	}
	return left, nil
}

// operandOf compiles the right side of an operation: flags in a list are or-ed.
func (c *compiler) operandOf(e ruleset.Expr, d dtype) (operand, error) {
	if !isConstant(e) {
		return c.expression(e, d)
	}
	v, err := c.bitwiseConstant(e, d)
	return one(func(*run) ([]byte, status) { return v, known }, d), err
}

// isConstant reports whether an expression is made of constants only.
func isConstant(e ruleset.Expr) bool {
	switch e := e.(type) {
	case ruleset.Str, ruleset.Num, ruleset.Bool:
		return true
	case ruleset.List:
		return !slices.ContainsFunc(e, func(x ruleset.Expr) bool { return !isConstant(x) })
	case ruleset.Binary:
		return !slices.ContainsFunc(e.Operands, func(x ruleset.Expr) bool { return !isConstant(x) })
	}
	return false
}

func combine(op string, left, right load, bits int) load {
	return func(r *run) ([]byte, status) {
		a, st := left(r)
		if st != known {
			return nil, st
		}
		b, st := right(r)
		if st != known {
			return nil, st
		}
		v, err := bitwise(op, a, b, bits)
		if err != nil {
			return nil, r.missing(FactOpaque, err.Error())
		}
		return v, known
	}
}

func (c *compiler) concat(e ruleset.Concat, want dtype) (operand, error) {
	var parts []operand
	var types []dtype
	for _, x := range e {
		o, err := c.expression(x, want)
		if err != nil {
			return o, err
		}
		parts = append(parts, o)
		types = append(types, o.types...)
	}
	return operand{func(r *run) ([]byte, status) {
		var out []byte
		for _, p := range parts {
			v, st := p.load(r)
			if st != known {
				return nil, st
			}
			out = append(out, v...)
		}
		return out, known
	}, types}, nil
}
