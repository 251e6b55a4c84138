package ruleset

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// Const is a constant as the bits it stands for: one value, one under a mask, or a range. All have the length of their
// type in whole bytes, most significant byte first; a field of six bits is in the lower six of its byte.
type Const struct {
	Value []byte
	Mask  []byte // nil: all bits count. Prefixes, and device names that end in "*"
	Last  []byte // nil: no range. Else Value to Last, both included
}

// Constant turns a constant into bytes: numbers, addresses, names of protocols, flags and the like, prefixes, ranges,
// flags or-ed together by "|" or in a List. ok is false for what is no constant, for sets and concatenations (their
// parts are constants, each with its field's type), and for names whose number only a machine knows: devices for
// iface_index, users, cgroups, marks and labels from configuration files.
func Constant(e Expr, t Type) (Const, bool) {
	if t.Fields != nil || t.Bits <= 0 {
		return Const{}, false
	}
	switch e := e.(type) {
	case Prefix:
		return prefixConst(e, t)
	case Range:
		from, ok1 := scalar(e.From, t)
		to, ok2 := scalar(e.To, t)
		return Const{Value: from, Last: to}, ok1 && ok2
	case Elem:
		return Constant(e.Val, t)
	case Str:
		if name, pattern := strings.CutSuffix(string(e), "*"); pattern && t.Text() && name != "" {
			return patternConst(name, t)
		}
	}
	b, ok := scalar(e, t)
	return Const{Value: b}, ok
}

// prefixConst is a value and as many bits of it as the prefix is long.
func prefixConst(e Prefix, t Type) (Const, bool) {
	b, ok := scalar(e.Addr, t)
	if !ok || e.Len < 0 || e.Len > t.Bits {
		return Const{}, false
	}
	return Const{Value: b, Mask: ones(t.Bits, t.Bits-e.Len)}, true
}

// ones is a mask of a type's bits without the lowest few.
func ones(bits, without int) []byte {
	b := make([]byte, size(bits))
	for i := without; i < bits; i++ {
		b[len(b)-1-i/8] |= 1 << (i % 8)
	}
	return b
}

// patternConst is the beginning of a name.
func patternConst(name string, t Type) (Const, bool) {
	n := size(t.Bits)
	if len(name) >= n {
		return Const{}, false
	}
	c := Const{Value: make([]byte, n), Mask: make([]byte, n)}
	for i := range len(name) {
		c.Value[i], c.Mask[i] = name[i], 0xff
	}
	return c, true
}

// size is the number of bytes that hold some bits.
func size(bits int) int { return (bits + 7) / 8 }

// scalar is the value of a constant that is one value.
func scalar(e Expr, t Type) ([]byte, bool) {
	switch e := e.(type) {
	case Num:
		return number(uint64(e), t)
	case Bool:
		if e {
			return number(1, t)
		}
		return number(0, t)
	case Str:
		return word(string(e), t)
	case List:
		return combine("|", e, t)
	case Binary:
		return combine(e.Op, e.Operands, t)
	}
	return nil, false
}

// number is a number of a type. The datatypes count in units of their own: labels are bits, times milliseconds.
func number(n uint64, t Type) ([]byte, bool) {
	switch {
	case t.Text():
		return nil, false
	case t.Name == "ct_label":
		return bit(n, t)
	case t.Name == "time" && t.Bits == 32:
		n *= 1000
	}
	return bigEndian(n, t)
}

// bit is a value with one bit set.
func bit(n uint64, t Type) ([]byte, bool) {
	b := make([]byte, size(t.Bits))
	if n >= uint64(t.Bits) {
		return nil, false
	}
	b[len(b)-1-int(n/8)] = 1 << (n % 8)
	return b, true
}

// bigEndian is a number in as many bytes as the type has; ok is false when it does not fit.
func bigEndian(n uint64, t Type) ([]byte, bool) {
	if t.Bits < 64 && n>>t.Bits != 0 {
		return nil, false
	}
	b := make([]byte, size(t.Bits))
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return b, true
}

// combine computes constants with each other.
func combine(op string, list []Expr, t Type) ([]byte, bool) {
	var acc []byte
	for i, x := range list {
		if i > 0 && (op == "<<" || op == ">>") {
			n, ok := x.(Num)
			if !ok || n >= Num(t.Bits) {
				return nil, false
			}
			acc = shift(acc, op, int(n), t.Bits)
			continue
		}
		b, ok := scalar(x, t)
		switch {
		case !ok:
			return nil, false
		case i == 0:
			acc = bytes.Clone(b)
			continue
		}
		for j := range acc {
			switch op {
			case "|":
				acc[j] |= b[j]
			case "&":
				acc[j] &= b[j]
			case "^":
				acc[j] ^= b[j]
			default:
				return nil, false
			}
		}
	}
	return acc, acc != nil
}

// shift moves the bits of a value.
func shift(b []byte, op string, n, bits int) []byte {
	out := make([]byte, len(b))
	get := func(i int) bool { return i >= 0 && i < bits && b[len(b)-1-i/8]&(1<<(i%8)) != 0 }
	for i := range bits {
		from := i - n
		if op == ">>" {
			from = i + n
		}
		if get(from) {
			out[len(out)-1-i/8] |= 1 << (i % 8)
		}
	}
	return out
}

// word is the value of a constant that nft wrote as a string.
func word(s string, t Type) ([]byte, bool) {
	switch t.Name {
	case "ifname", "string":
		if len(s) >= size(t.Bits) {
			return nil, false
		}
		b := make([]byte, size(t.Bits))
		copy(b, s)
		return b, true
	case "ipv4_addr", "ipv6_addr":
		a, err := netip.ParseAddr(s)
		if err != nil || a.BitLen() != t.Bits || a.Zone() != "" {
			return nil, false
		}
		return a.AsSlice(), true
	case "ether_addr", "ll_addr":
		return hardwareAddr(s, t)
	case "classid":
		return classID(s, t)
	case "hour":
		return hour(s, t)
	case "time":
		return date(s, t)
	}
	if n, ok := Symbol(t.Name, s); ok {
		return number(n, t)
	}
	if digits, hex := strings.CutPrefix(s, "0x"); hex {
		return hexadecimal(digits, t)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, false
	}
	return number(n, t)
}

// hexadecimal is a number of any length; nft prints those longer than 64 bits as strings.
func hexadecimal(digits string, t Type) ([]byte, bool) {
	digits = strings.TrimLeft(digits, "0")
	b := make([]byte, size(t.Bits))
	for i := range len(digits) {
		n, err := strconv.ParseUint(digits[len(digits)-1-i:len(digits)-i], 16, 8)
		if err != nil || i/2 >= len(b) {
			return nil, false
		}
		b[len(b)-1-i/2] |= byte(n) << (4 * (i % 2))
	}
	if extra := len(b)*8 - t.Bits; extra > 0 && b[0]>>(8-extra) != 0 {
		return nil, false
	}
	return b, true
}

func hardwareAddr(s string, t Type) ([]byte, bool) {
	var b []byte
	for part := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseUint(part, 16, 8)
		if err != nil {
			return nil, false
		}
		b = append(b, byte(n))
	}
	return b, len(b) == size(t.Bits)
}

// classID is a handle of tc(8): "1:10", in hexadecimal digits.
func classID(s string, t Type) ([]byte, bool) {
	switch s {
	case "none":
		return bigEndian(0, t)
	case "root":
		return bigEndian(0xffffffff, t)
	}
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		n, err := strconv.ParseUint(s, 0, 32)
		return uint32Bytes(n), err == nil
	}
	hi, err1 := strconv.ParseUint("0"+major, 16, 16)
	lo, err2 := strconv.ParseUint("0"+minor, 16, 16)
	return uint32Bytes(hi<<16 | lo), err1 == nil && err2 == nil
}

func uint32Bytes(n uint64) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
