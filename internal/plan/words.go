package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// mostText bounds the text of a rule: anonymous sets may be of any size.
const mostText = 2000

// text is a rule in nft's own syntax, on one line, without what its counters have counted.
func text(r *ruleset.Rule) string {
	bare := *r
	bare.Stmts = slices.Clone(r.Stmts)
	for i, s := range bare.Stmts {
		if c, ok := s.(ruleset.Counter); ok && c.Ref == nil {
			bare.Stmts[i] = ruleset.Action{Kind: "counter"}
		}
	}
	s := bare.String()
	if len(s) <= mostText {
		return s
	}
	n := mostText
	for n > 0 && s[n]&0xc0 == 0x80 {
		n-- // in the middle of a character
	}
	return s[:n] + "…"
}
