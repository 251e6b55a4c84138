package main

import (
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/plan"
)

// options are those of a plan: the hooks that `run` is given the same way.
func (o planOptions) options() (plan.Options, error) {
	choices := engine.Choices{}
	out := plan.Options{Hooks: map[string]string{}}
	for _, d := range o.devices {
		if err := choices.Set(d); err != nil {
			return out, usage("--device: %w", err)
		}
	}
	for name, hook := range choices {
		out.Hooks[name] = string(hook)
	}
	return out, nil
}
