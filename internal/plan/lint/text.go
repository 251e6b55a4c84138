package lint

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// longRule is up to how many bytes of a rule a finding shows: anonymous sets may have thousands of elements.
const longRule = 300

// ruleText is the rule as nft lists it.
func ruleText(r *ruleset.Rule) string { return short(r.String()) }

func short(s string) string {
	if len(s) <= longRule {
		return s
	}
	end := longRule
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + " ..."
}

// matchText is what a rule matches on, without what it does. Empty where it matches every packet.
func matchText(r *ruleset.Rule) string {
	var parts []string
	for _, s := range r.Stmts {
		if m, ok := s.(ruleset.Match); ok {
			parts = append(parts, fmt.Sprint(m))
		}
	}
	return short(strings.Join(parts, " "))
}
