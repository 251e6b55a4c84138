package caps

import "fmt"

// Answer is a yes or no that may not be known. The zero Answer is Unknown.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// AnswerOf makes an answer of something that is known.
func AnswerOf(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// String renders the answer as JSON and people have it.
func (a Answer) String() string {
	switch a {
	case Unknown:
		return "unknown"
	case No:
		return "no"
	case Yes:
		return "yes"
	}
	return fmt.Sprintf("Answer(%d)", int(a))
}

// MarshalText implements encoding.TextMarshaler.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Answer) UnmarshalText(b []byte) error {
	for _, known := range []Answer{Unknown, No, Yes} {
		if string(b) == known.String() {
			*a = known
			return nil
		}
	}
	return fmt.Errorf("%q is none of yes, no, unknown", b)
}
