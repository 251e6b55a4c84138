package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/bench"
)

func benchRulesCommand(e *env) *cobra.Command {
	var o bench.RulesOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "rules",
		Short: "measure netdev ingress chains: nftables, XDP and tc on one core",
		Long: `rules sends live frames into a device with a netdev ingress chain that drops
them, in network namespaces of its own, and prints what a packet costs by path,
shape of the chain and number of rules, or of elements of a set. Before that,
the same frames have to have the verdicts and counters that nftables gives them.
Memory, and the times to load, reload and change, are in the same table. Nothing
of the machine's own network is touched, and nothing is left behind.

The whole benchmark takes about seven minutes.`,
		Example: `  nft-offload bench rules --shape exact --rules 1,1000
  nft-offload bench rules --shape set --elements 100000
  nft-offload bench rules --json > rules.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.Check(); err != nil {
				return usage("%w", err)
			}
			if err := prepareMachine(e.places); err != nil {
				return fmt.Errorf("prepare: %w", err)
			}
			p := e.progress()
			o.Progress = p.step
			r, err := bench.Rules(e.ctx, o)
			p.clear()
			if err != nil {
				return interrupted(err)
			}
			if asJSON {
				return e.printJSON(r)
			}
			return r.WriteText(e.stdout)
		},
	}
	f := c.Flags()
	f.IntSliceVar(&o.Rules, "rules", nil, "numbers of rules (default 1,10,100,1000,10000)")
	f.IntSliceVar(&o.Elements, "elements", nil, "numbers of elements of a set (default 1000,100000,1000000)")
	f.StringSliceVar(&o.Shapes, "shape", nil, "shapes: exact, mixed, prefix, range, set (default all)")
	f.IntVar(&o.Rounds, "rounds", 0, "measurements of each path (default 5)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
