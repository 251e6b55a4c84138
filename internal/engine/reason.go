package engine

import (
	"encoding/json"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Reason is why something is not possible, and what to do about it, in words of the device at hand. The zero Reason: it
// is possible.
type Reason struct {
	Code   reason.Reason `json:"code"`
	Text   string        `json:"text"`             // a sentence
	Advice string        `json:"advice,omitempty"` // what to do; empty when nothing helps
}

// OK reports whether nothing is in the way.
func (r Reason) OK() bool { return r.Code == reason.None }

// Error renders the reason as an error text: what is wrong, and what to do.
func (r Reason) Error() string {
	if r.Advice == "" {
		return r.Text
	}
	return fmt.Sprintf("%s; %s", r.Text, r.Advice)
}

// UnmarshalJSON reads a reason of a daemon, which may be of a newer version than the command: a code that is not known
// becomes reason.Unknown.
func (r *Reason) UnmarshalJSON(b []byte) error {
	var w struct{ Code, Text, Advice string }
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("read reason: %w", err)
	}
	*r = Reason{Text: w.Text, Advice: w.Advice}
	if err := r.Code.UnmarshalText([]byte(w.Code)); err != nil && w.Code != "" {
		r.Code = reason.Unknown
	}
	return nil
}
