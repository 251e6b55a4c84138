package space

import (
	"cmp"
	"math/bits"
)

// Value is the value of a field: an unsigned number of up to 128 bits. Names are left-aligned, so that a prefix of
// names is an interval.
type Value struct{ Hi, Lo uint64 }

// valueBits is the width of a Value.
const valueBits = 128

// Number makes a value of a number.
func Number(n uint64) Value { return Value{Lo: n} }

// Bytes makes a value of at most 16 bytes in network order.
func Bytes(b []byte) Value {
	var v Value
	for _, c := range b {
		v = v.ShiftLeft(8)
		v.Lo |= uint64(c)
	}
	return v
}

// Name makes a value of a name of at most 16 bytes.
func Name(s string) Value {
	var b [valueBits / 8]byte
	copy(b[:], s)
	return Bytes(b[:])
}

// Compare orders values as numbers: -1, 0 or 1.
func (v Value) Compare(w Value) int {
	if c := cmp.Compare(v.Hi, w.Hi); c != 0 {
		return c
	}
	return cmp.Compare(v.Lo, w.Lo)
}

// And is the bits that both values have.
func (v Value) And(w Value) Value { return Value{v.Hi & w.Hi, v.Lo & w.Lo} }

// Or is the bits that either value has.
func (v Value) Or(w Value) Value { return Value{v.Hi | w.Hi, v.Lo | w.Lo} }

// Xor is the bits in which the values differ.
func (v Value) Xor(w Value) Value { return Value{v.Hi ^ w.Hi, v.Lo ^ w.Lo} }

// AndNot is the bits that the other value does not have.
func (v Value) AndNot(w Value) Value { return Value{v.Hi &^ w.Hi, v.Lo &^ w.Lo} }

// IsZero reports whether no bit is set.
func (v Value) IsZero() bool { return v == Value{} }

// next is the value above, which wraps around.
func (v Value) next() Value {
	lo, carry := bits.Add64(v.Lo, 1, 0)
	hi, _ := bits.Add64(v.Hi, 0, carry)
	return Value{hi, lo}
}

// prev is the value below, which wraps around.
func (v Value) prev() Value {
	lo, borrow := bits.Sub64(v.Lo, 1, 0)
	hi, _ := bits.Sub64(v.Hi, 0, borrow)
	return Value{hi, lo}
}

// ShiftLeft moves the bits up; what does not fit is lost.
func (v Value) ShiftLeft(n int) Value {
	if n >= 64 {
		return Value{Hi: v.Lo << (n - 64)}
	}
	return Value{v.Hi<<n | v.Lo>>(64-n), v.Lo << n}
}

// ShiftRight moves the bits down.
func (v Value) ShiftRight(n int) Value {
	if n >= 64 {
		return Value{Lo: v.Hi >> (n - 64)}
	}
	return Value{v.Hi >> n, v.Lo>>n | v.Hi<<(64-n)}
}

// bit reports bit n, from the least significant.
func (v Value) bit(n int) bool { return v.ShiftRight(n).Lo&1 == 1 }

// length is the number of bits up to the highest that is set.
func (v Value) length() int {
	if v.Hi != 0 {
		return 64 + bits.Len64(v.Hi)
	}
	return bits.Len64(v.Lo)
}

// ones is the number of bits that are set.
func (v Value) ones() int { return bits.OnesCount64(v.Hi) + bits.OnesCount64(v.Lo) }

// Highest is the largest value of so many bits.
func Highest(width int) Value {
	if width >= valueBits {
		return Value{^uint64(0), ^uint64(0)}
	}
	return Number(1).ShiftLeft(width).prev()
}

// Floor clears low bits.
func (v Value) Floor(bits int) Value { return v.AndNot(Highest(bits)) }

// Bytes writes the value in so many bytes, in network order.
func (v Value) Bytes(n int) []byte {
	out := make([]byte, n)
	for i := range n {
		out[n-1-i] = byte(v.ShiftRight(8 * i).Lo)
	}
	return out
}
