package plan

import "github.com/nft-offload/nft-offload/internal/ruleset"

// mostText bounds the text of a rule: anonymous sets may be of any size.
const mostText = 2000

// text is a rule in nft's own syntax, on one line.
func text(r *ruleset.Rule) string {
	s := r.String()
	if len(s) <= mostText {
		return s
	}
	n := mostText
	for n > 0 && s[n]&0xc0 == 0x80 {
		n-- // in the middle of a character
	}
	return s[:n] + "…"
}
