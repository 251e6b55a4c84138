package lint

import (
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Check returns what there is to say about a ruleset on a machine. Devices, options and a kernel version that m does not
// know lead to no finding; caps.Machine{} is a machine of which nothing is known.
func Check(rs *ruleset.Ruleset, m caps.Machine) []Finding {
	_, _ = rs, m
	var out []Finding
	sortFindings(out)
	return out
}
