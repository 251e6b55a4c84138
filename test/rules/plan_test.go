package rules_test

import (
	"errors"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// shareOf plans a ruleset and returns what runs early on a device, and which rules and policies end packets there.
func (l *lab) shareOf(rs *ruleset.Ruleset, d *device, hook share.Hook) (*share.Share, map[place]bool, error) {
	return nil, nil, errors.New("not yet")
}

// ifindexes are those of the lab's devices.
func (l *lab) ifindexes() map[string]uint32 { return l.devices }
