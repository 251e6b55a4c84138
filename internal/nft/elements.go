package nft

import (
	"context"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// Elements reads the elements of a set in the calling thread's network namespace, in no order, without those that
// have expired: all of one state of the ruleset, which the list names.
//
// Errors: ErrNoSet, ErrPermission, what the kernel said.
func Elements(ctx context.Context, set element.SetID) (*element.List, error) {
	return nil, nil
}
