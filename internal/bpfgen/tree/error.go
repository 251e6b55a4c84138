package tree

import (
	"errors"
	"fmt"
)

// ErrFull says that the arena has no room for a change. The tree is as it was.
var ErrFull = errors.New("the arena is full")

// OverlapError says that an element has keys that another one has.
type OverlapError struct{ Element, With Element }

func (e *OverlapError) Error() string {
	return fmt.Sprintf("%v overlaps %v", e.Element, e.With)
}

// MissingError says that there is no element of exactly these keys.
type MissingError struct{ Element Element }

func (e *MissingError) Error() string { return fmt.Sprintf("there is no %v", e.Element) }

// KeyError says that an element is none of this tree: the wrong number of words, a word too large for its width, or the
// last key before the first.
type KeyError struct{ Element Element }

func (e *KeyError) Error() string {
	return fmt.Sprintf("%v is no interval of this tree's keys", e.Element)
}
