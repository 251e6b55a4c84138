package ruleset

import (
	"fmt"
	"strings"
)

// SyntaxError is what is wrong with a ruleset document, and where. Nothing of the document was decoded then.
type SyntaxError struct {
	Offset int    // bytes in front of the place
	Line   int    // from 1
	Column int    // in bytes, from 1
	Object int    // index in the "nftables" array, from 0; -1 outside of it
	Kind   string // of that object: "rule", ...; empty where it is not known
	What   string
}

// Error renders the place and what is wrong there.
func (e *SyntaxError) Error() string {
	place := ""
	switch {
	case e.Object >= 0 && e.Kind != "":
		place = fmt.Sprintf(" (object %d, %s)", e.Object, printable(e.Kind))
	case e.Object >= 0:
		place = fmt.Sprintf(" (object %d)", e.Object)
	}
	return fmt.Sprintf("decode ruleset: line %d, column %d%s: %s", e.Line, e.Column, place, e.What)
}

// Bounds of a document. They are far above what nft prints for rulesets that work, and keep hostile input cheap.
const (
	maxDocument = 128 << 20 // bytes
	maxRule     = 4 << 20   // bytes of one rule
	maxDepth    = 512       // arrays and objects inside each other; nft 1.0.6 nests "|" once for each flag
	maxName     = 255       // bytes of the name of a table, chain, set, ... (NFT_NAME_MAXLEN-1, nf_tables.h)
	maxDevice   = 15        // bytes of a device name (IFNAMSIZ-1, if.h)
)

// locate fills in line and column from the offset.
func (e *SyntaxError) locate(src string) {
	before := src[:min(e.Offset, len(src))]
	e.Line = 1 + strings.Count(before, "\n")
	e.Column = len(before) - (strings.LastIndexByte(before, '\n') + 1) + 1
}

// printable shortens a string for messages and makes it safe to print.
func printable(s string) string {
	const most = 60
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '�' {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "..."
	}
	return s
}

// control reports whether a string has control characters.
func control(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}
