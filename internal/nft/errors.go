package nft

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong before nft is asked.
var (
	ErrNotInstalled = errors.New("nft(8) is not installed (package nftables)")
	ErrPermission   = errors.New("root (CAP_NET_ADMIN) is needed")
)

// Error is what nft said when it refused a command or a ruleset. Nothing was changed.
type Error struct {
	Op   string // "list ruleset", "check", "load"
	File string // file of the first complaint as the user wrote it; empty where nft named none
	Line int    // line in File, from 1; 0 where nft named none
	Text string // nft's own words, with the places they name changed to those of the user's files
	// Crashed is set where a signal ended nft. Then it said nothing.
	Crashed bool
}

// Error renders the place, the operation and the first line of nft's text that says something.
func (e *Error) Error() string { return fmt.Sprintf("%s ruleset: %s", e.Op, e.first()) }

// first is the first complaint. In front of one about an included file nft says where that was included.
func (e *Error) first() string {
	rest := e.Text
	for {
		line, more, found := strings.Cut(rest, "\n")
		if !strings.HasPrefix(line, "In file included from ") && !strings.HasPrefix(line, "                 from ") || !found {
			return line
		}
		rest = more
	}
}

// SourceError is something in a ruleset that this package itself cannot accept, with its place.
type SourceError struct {
	File string
	Line int // from 1; 0 for JSON, which has no lines worth naming
	Err  error
}

// Error renders the place and the cause.
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// UnsupportedError is a construct that cannot be lowered without changing what the ruleset does.
type UnsupportedError struct{ Reason string }

// Error renders the reason.
func (e *UnsupportedError) Error() string { return "cannot lower: " + e.Reason }

// UnsavedError is a table that nft(8) can list but not read back, so that it could not be restored.
type UnsavedError struct {
	Table  string // "ip nat"
	Reason string // nft's
}

// Error names the table and what nft says of it.
func (e *UnsavedError) Error() string {
	return fmt.Sprintf("save table %s: nft cannot read back what it lists (made by iptables-nft?): %s", e.Table, e.Reason)
}

// DeviceError is a device that does not exist.
type DeviceError struct{ Device string }

// Error names the device.
func (e *DeviceError) Error() string { return fmt.Sprintf("device %q does not exist", e.Device) }

// MarkError refuses to lower with a mark because rules use it.
type MarkError struct {
	Bit    uint32
	Rules  []string // one clause for each rule
	Reason string   // where it is not about rules
}

// Error names the bit and the first rule.
func (e *MarkError) Error() string {
	why := e.Reason
	if len(e.Rules) > 0 {
		why = e.Rules[0]
	}
	return fmt.Sprintf("use conntrack mark bit %#x: %s", e.Bit, why)
}
