package main

import (
	"context"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/nft"
)

// nftSource is the live ruleset as the engine wants it.
type nftSource struct{}

func (nftSource) Read(ctx context.Context) (handover.Ruleset, error) { return nft.List(ctx) }

func (nftSource) Watch(ctx context.Context) (<-chan engine.Change, error) {
	events, err := nft.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return translate(ctx, events, func(e nft.Event) (engine.Change, bool) {
		switch {
		case e.Err != nil:
			return engine.Change{}, false // the channel closes behind it
		case e.Lost:
			return engine.Change{What: "ruleset notifications lost", Reread: true}, true
		}
		return engine.Change{What: generationText(e.Generation, e.Process), Reread: true}, true
	}), nil
}

func generationText(generation uint32, process string) string {
	return fmt.Sprintf("ruleset generation %d by %s", generation, process)
}

// translate turns events into changes until the events or the context end.
func translate[E any](ctx context.Context, events <-chan E, f func(E) (engine.Change, bool)) <-chan engine.Change {
	out := make(chan engine.Change)
	go func() {
		defer close(out)
		for e := range events {
			c, ok := f(e)
			if !ok {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
