package eval

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// interval is what a constant of a rule matches: from lo to hi, both included. The bytes of values are most
// significant first, whatever the kernel's byte order, so that order is that of numbers.
type interval struct{ lo, hi []byte }

func (i interval) has(v []byte) bool {
	return bytes.Compare(i.lo, v) <= 0 && bytes.Compare(v, i.hi) <= 0
}

func single(v []byte) interval { return interval{v, v} }

// uintBytes renders a number in n bytes, most significant first; more than fits is cut off.
func uintBytes(v uint64, n int) []byte {
	b := make([]byte, n)
	for i := n - 1; i >= 0 && v != 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
	return b
}

// toUint reads at most the last 8 bytes as a number.
func toUint(b []byte) uint64 {
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// constant reads a constant of a datatype: one value, a prefix, a range, a device name that ends in "*".
func (c *compiler) constant(e ruleset.Expr, d dtype) (interval, error) {
	switch e := e.(type) {
	case ruleset.Num:
		return c.numeric(uint64(e), d), nil
	case ruleset.Bool:
		if e {
			return single(uintBytes(1, d.bytes())), nil
		}
		return single(uintBytes(0, d.bytes())), nil
	case ruleset.Str:
		return c.text(string(e), d)
	case ruleset.Elem:
		return c.constant(e.Val, d)
	case ruleset.Prefix:
		i, err := c.constant(e.Addr, d)
		if err != nil || e.Len < 0 || e.Len > d.bits {
			return i, fmt.Errorf("read prefix of %d bits: %w", e.Len, orInvalid(err))
		}
		return prefix(i.lo, e.Len+8*d.bytes()-d.bits), nil
	case ruleset.Range:
		lo, err := c.constant(e.From, d)
		if err != nil {
			return lo, err
		}
		hi, err := c.constant(e.To, d)
		return interval{lo.lo, hi.hi}, err
	case ruleset.Binary, ruleset.List:
		v, err := c.bitwiseConstant(e, d)
		return single(v), err
	}
	return interval{}, fmt.Errorf("read %T as %s: %w", e, d.name, errNotConstant)
}

// prefix is the interval of all values that share the first n bits of v.
func prefix(v []byte, n int) interval {
	lo, hi := bytes.Clone(v), bytes.Clone(v)
	for i := range lo {
		keep := min(max(n-8*i, 0), 8)
		mask := byte(0xff) << (8 - keep)
		lo[i] &= mask
		hi[i] = lo[i] | ^mask
	}
	return interval{lo, hi}
}

// numeric is a number; a label's number is that of its bit.
func (c *compiler) numeric(n uint64, d dtype) interval {
	if d.name == "ct_label" {
		v := make([]byte, d.bytes())
		if n < uint64(d.bits) {
			v[len(v)-1-int(n/8)] = 1 << (n % 8)
		}
		return single(v)
	}
	return single(uintBytes(n, d.bytes()))
}

// text reads a constant that nft wrote as a string.
func (c *compiler) text(s string, d dtype) (interval, error) {
	switch d.name {
	case "ifname", "string":
		return name(s, d.bytes()), nil
	case "iface_index":
		if n, ok := number(s); ok {
			return single(uintBytes(n, d.bytes())), nil
		}
		return single(uintBytes(uint64(c.e.index(s)), d.bytes())), nil
	case "ipv4_addr", "ipv6_addr":
		return address(s, d)
	case "ether_addr":
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != d.bytes() {
			return interval{}, fmt.Errorf("read %q as %s: %w", s, d.name, errNotConstant)
		}
		return single(b), nil
	}
	if n, ok := symbol(d, s); ok {
		return single(uintBytes(n, d.bytes())), nil
	}
	if n, ok := number(s); ok {
		return c.numeric(n, d), nil
	}
	return c.literal(s, d)
}

// literal reads what has neither a name nor is a plain number: addresses in untyped fields, wide numbers.
func (c *compiler) literal(s string, d dtype) (interval, error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		if len(digits)%2 != 0 {
			digits = "0" + digits
		}
		if b, err := hex.DecodeString(digits); err == nil && len(b) <= d.bytes() {
			return single(append(make([]byte, d.bytes()-len(b)), b...)), nil
		}
	}
	if d.name == "integer" {
		return address(s, d) // of a field that nft did not put a name to
	}
	return interval{}, fmt.Errorf("read %q as %s: %w", s, d.name, errNotConstant)
}

func address(s string, d dtype) (interval, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.BitLen() != d.bits {
			return interval{}, fmt.Errorf("read %q as %s: %w", s, d.name, errNotConstant)
		}
		return single(a.AsSlice()), nil
	}
	if p.Addr().BitLen() != d.bits {
		return interval{}, fmt.Errorf("read %q as %s: %w", s, d.name, errNotConstant)
	}
	return prefix(p.Addr().AsSlice(), p.Bits()), nil
}

// name is a device name in n bytes, padded with zeros. With a "*" at the end it is a prefix; "\*" is the character.
func name(s string, n int) interval {
	stem, wild := strings.CutSuffix(s, "*")
	if wild && strings.HasSuffix(stem, `\`) {
		stem, wild = strings.TrimSuffix(stem, `\`)+"*", false
	}
	if !wild {
		stem = strings.TrimSuffix(s, `\*`)
		if stem != s {
			stem += "*"
		}
	}
	v := make([]byte, n)
	copy(v, stem)
	if !wild {
		return single(v)
	}
	return prefix(v, 8*min(len(stem), n))
}

// bitwiseConstant works out flags that are listed or combined: ["syn", "ack"], {"|": ["fin", "syn"]}.
func (c *compiler) bitwiseConstant(e ruleset.Expr, d dtype) ([]byte, error) {
	var op string
	var parts []ruleset.Expr
	switch e := e.(type) {
	case ruleset.List:
		op, parts = "|", e
	case ruleset.Binary:
		op, parts = e.Op, e.Operands
	default:
		i, err := c.constant(e, d)
		return i.lo, err
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("read empty list as %s: %w", d.name, errNotConstant)
	}
	out, err := c.bitwiseConstant(parts[0], d)
	if err != nil {
		return nil, err
	}
	for _, p := range parts[1:] {
		by := d
		if op == "<<" || op == ">>" {
			by = dtype{"integer", 32}
		}
		v, err := c.bitwiseConstant(p, by)
		if err != nil {
			return nil, err
		}
		if out, err = bitwise(op, out, v, d.bits); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bitwise computes a op b in so many bits.
func bitwise(op string, a, b []byte, bits int) ([]byte, error) {
	out := bytes.Clone(a)
	switch op {
	case "&", "|", "^":
		for i := range out {
			j := len(b) - len(out) + i
			var v byte
			if j >= 0 {
				v = b[j]
			}
			switch op {
			case "&":
				out[i] &= v
			case "|":
				out[i] |= v
			case "^":
				out[i] ^= v
			}
		}
	case "<<", ">>":
		out = shift(a, int(min(toUint(b), 1<<16)), op == "<<")
	default:
		return nil, fmt.Errorf("compute %q: %w", op, errNotConstant)
	}
	return cutBits(out, bits), nil
}

// shift moves bits to the left or to the right.
func shift(a []byte, n int, left bool) []byte {
	out := make([]byte, len(a))
	total := 8 * len(a)
	for i := range total { // bit i, counted from the least significant
		from := i + n
		if left {
			from = i - n
		}
		if from < 0 || from >= total {
			continue
		}
		bit := a[len(a)-1-from/8] >> (from % 8) & 1
		out[len(a)-1-i/8] |= bit << (i % 8)
	}
	return out
}

// cutBits clears what is above so many bits.
func cutBits(b []byte, bits int) []byte {
	for i := range b {
		above := 8*(len(b)-i) - bits
		if above > 0 {
			b[i] &= byte(0xff) >> min(above, 8)
		}
	}
	return b
}
