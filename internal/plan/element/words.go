package element

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// FitError is an element that programs cannot have: the set stays with the kernel.
type FitError struct {
	Set    SetID
	Reason string
}

// Error names the set and says what does not fit.
func (e *FitError) Error() string { return fmt.Sprintf("set %s: %s", e.Set, e.Reason) }

// Count is the number of canonical words of a set's keys: one for a component of at most 64 bits, else two.
func Count(parts []share.Part) int { return 0 }

// Words appends the canonical words of a key in registers: each component as an unsigned number in one word, or the
// high and the low one. It returns nil for a key that is not as long as the parts say.
func Words(dst []uint64, parts []share.Part, key []byte) []uint64 { return nil }

// Data is what maps hold for an element: DataOf its verdict, and 1 in sets without.
func Data(e Element) (uint32, bool) { return 0, false }
