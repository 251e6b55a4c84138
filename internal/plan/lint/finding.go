// Package lint finds what a ruleset loses or risks by offloading flows, and what keeps it from offloading any: a
// `flow add` that no packet reaches, rules that established flows no longer see, flowtables with the wrong devices. Each
// finding names the rule, the flowtable or the device, and says what to write instead.
//
// A ruleset comes in as values (package ruleset), with what is known about the machine (package caps); findings go out,
// the gravest first. What is said of a machine that is not known is left out. The package is pure, and does not
// evaluate packets: it follows classes of them (protocol, conntrack state, direction, devices) through the chains, and
// says that none arrives only where that is certain.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Severity says how much a finding matters.
type Severity uint8

// The severities, the gravest first.
const (
	Error   Severity = iota + 1 // offloads nothing, or does not load
	Warning                     // changes what the rules do to offloaded flows, or offloads less than written
	Note                        // good to know
)

// String names the severity.
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Note:
		return "note"
	default:
		return "unknown"
	}
}

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing to say about a ruleset.
type Finding struct {
	Reason   reason.Reason `json:"reason"`
	Severity Severity      `json:"severity"`
	Place    Place         `json:"place"`
	Detail   string        `json:"detail"`            // the reason's sentence for this case
	Instead  string        `json:"instead,omitempty"` // what to write or to do instead, one line; nft text where it can be
}

// Place is what a finding is about. Empty fields do not apply; all are empty for the machine as a whole.
type Place struct {
	Family    ruleset.Family `json:"family,omitempty"`
	Table     string         `json:"table,omitempty"`
	Chain     string         `json:"chain,omitempty"`
	Handle    int            `json:"handle,omitempty"` // 0 where the ruleset was read from a file
	Number    int            `json:"number,omitempty"` // of the rule in its chain, from 1
	Rule      string         `json:"rule,omitempty"`   // its text
	Flowtable string         `json:"flowtable,omitempty"`
	Object    string         `json:"object,omitempty"` // "ct helper ftp"
	Device    string         `json:"device,omitempty"`

	order int // rules in the order of the listing
}

// String renders the place as nft names it, without the rule's text.
func (p Place) String() string {
	var b strings.Builder
	if p.Table != "" {
		fmt.Fprintf(&b, "%s %s", p.Family, p.Table)
	}
	for _, part := range []struct{ what, name string }{
		{"", p.Chain}, {"flowtable ", p.Flowtable}, {"", p.Object}, {"device ", p.Device},
	} {
		if part.name != "" {
			fmt.Fprintf(&b, " %s%s", part.what, part.name)
		}
	}
	if p.Number != 0 {
		b.WriteString(" " + numbered(p.Handle, p.Number))
	}
	if b.Len() == 0 {
		return "machine"
	}
	return strings.TrimSpace(b.String())
}

// numbered names a rule in its chain: by handle, and by its place where it has none.
func numbered(handle, number int) string {
	if handle != 0 {
		return fmt.Sprintf("handle %d", handle)
	}
	return fmt.Sprintf("rule %d", number)
}

// sortFindings puts the gravest first, then those of one place together, in the order of the listing.
func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Place.order, b.Place.order), cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Place.String(), b.Place.String()), cmp.Compare(a.Detail, b.Detail),
		)
	})
}
