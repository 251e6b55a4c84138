package element

import (
	"encoding/binary"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// registerSize is what each component of a concatenation is filled up to.
const registerSize = 4

// WordBits is the size of a canonical word.
const WordBits = 64

// Count is the number of canonical words of a set's keys: one for a component of at most 64 bits, else two.
func Count(parts []share.Part) int {
	n := 0
	for _, p := range parts {
		n++
		if p.Bits > WordBits {
			n++
		}
	}
	return n
}

// Size is the number of bytes of a set's keys in the kernel's registers.
func Size(parts []share.Part) int {
	if len(parts) == 1 {
		return bytesOf(parts[0])
	}
	n := 0
	for _, p := range parts {
		n += fill(bytesOf(p))
	}
	return n
}

func bytesOf(p share.Part) int { return (p.Bits + 7) / 8 }

// fill rounds up to whole registers.
func fill(n int) int { return (n + registerSize - 1) / registerSize * registerSize }

// Words appends the canonical words of a key of a set: each component as an unsigned number in one word, or in a high
// and a low one. The machine's byte order is big where bigEndian is set. It reports false for a key that is not as long
// as the parts say, or that has bits where they have none.
func Words(dst []uint64, parts []share.Part, key []byte, bigEndian bool) ([]uint64, bool) {
	if len(key) != Size(parts) && len(key) != fill(Size(parts)) {
		return dst, false
	}
	for _, p := range parts {
		n := bytesOf(p)
		hi, lo := number(key[:n], p.Host && !bigEndian)
		if !fits(p, hi, lo) {
			return dst, false
		}
		if p.Bits > WordBits {
			dst = append(dst, hi)
		}
		dst = append(dst, lo)
		key = key[min(fill(n), len(key)):]
	}
	return dst, true
}

// number reads at most 16 bytes, the first of which is the highest, or the lowest.
func number(b []byte, reversed bool) (hi, lo uint64) {
	for i := range b {
		c := b[i]
		if reversed {
			c = b[len(b)-1-i]
		}
		hi, lo = hi<<8|lo>>56, lo<<8|uint64(c)
	}
	return hi, lo
}

// fits reports whether a number has no more bits than a component.
func fits(p share.Part, hi, lo uint64) bool {
	if p.Bits > WordBits {
		return p.Bits >= 2*WordBits || hi>>(p.Bits-WordBits) == 0
	}
	return hi == 0 && (p.Bits == WordBits || lo>>p.Bits == 0)
}

// Key is the key of one component in network order that has these words.
func Key(part share.Part, words []uint64) []byte {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b[len(b)-bytesOf(part):]
}

// Highest appends the words of the highest key of a set.
func Highest(dst []uint64, parts []share.Part) []uint64 {
	for _, p := range parts {
		if p.Bits > WordBits {
			dst = append(dst, ^uint64(0)>>(2*WordBits-p.Bits), ^uint64(0))
			continue
		}
		dst = append(dst, ^uint64(0)>>(WordBits-p.Bits))
	}
	return dst
}

// FitError is an element that programs cannot have: the set, and what looks it up, stays with the kernel.
type FitError struct {
	Set    SetID
	Reason string
}

// Error names the set and says what does not fit.
func (e *FitError) Error() string { return fmt.Sprintf("set %s: %s", e.Set, e.Reason) }
