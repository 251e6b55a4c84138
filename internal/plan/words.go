package plan

import "github.com/nft-offload/nft-offload/internal/ruleset"

// text is a rule in nft's own syntax.
func text(t *ruleset.Table, r *ruleset.Rule) string { _ = t; _ = r; return "rule" }
