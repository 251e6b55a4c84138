package lint

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func ruleText(r *ruleset.Rule) string { return fmt.Sprintf("rule %d", r.Handle) }

func matchText(r *ruleset.Rule) string { return "..." }
