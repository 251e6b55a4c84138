package nft

import (
	"context"
	"fmt"
	"net"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// preview reads a ruleset back as it would be after loading, without loading it: in a scratch namespace with
// stand-ins for this namespace's devices, on top of a copy of the live ruleset where the program does not flush it.
func preview(ctx context.Context, src Source, p program) (handover.Ruleset, error) {
	var live []byte
	if !p.flushes {
		var err error
		if live, err = run(ctx, "list", "", "", "list", "ruleset"); err != nil {
			return handover.Ruleset{}, err
		}
	}
	devices, err := net.Interfaces()
	if err != nil {
		return handover.Ruleset{}, fmt.Errorf("list devices: %w", err)
	}
	var r handover.Ruleset
	err = inScratch(func() error {
		if err := fakeDevices(numbered(devices)); err != nil {
			return err
		}
		if len(live) > 0 {
			if _, err := run(ctx, "copy", "", string(live), "-f", "-"); err != nil {
				return err
			}
		}
		if err := p.run(ctx, src, "check"); err != nil {
			return err
		}
		var err error
		r, err = List(ctx)
		return err
	})
	return r, err
}
