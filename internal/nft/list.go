package nft

import (
	"context"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// List reads the live ruleset. What the JSON of nft leaves out (the devices of netdev chains and the flags of
// flowtables, in nft 1.0.6) comes from the kernel.
func List(ctx context.Context) (handover.Ruleset, error) {
	doc, err := run(ctx, "list", "", "", "-j", "list", "ruleset")
	if err != nil {
		return handover.Ruleset{}, err
	}
	r, err := handover.Decode(doc)
	if err != nil {
		return handover.Ruleset{}, fmt.Errorf("read ruleset: %w", err)
	}
	if err := complete(&r); err != nil {
		return handover.Ruleset{}, fmt.Errorf("read ruleset: %w", err)
	}
	return r, nil
}
