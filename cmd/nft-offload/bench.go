package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/bench"
)

func benchCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "measure the paths on this machine",
		Long: `bench measures what a packet costs by each path, side by side in one run, in
network namespaces of its own.`,
		Example: `  nft-offload bench flows --quick
  nft-offload bench flows --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(benchFlowsCommand(e), benchRulesCommand(e))
	return c
}

func benchFlowsCommand(e *env) *cobra.Command {
	var o bench.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "flows",
		Short: "measure the slow path, tc, XDP and a bare redirect on one core",
		Long: `flows sends live frames through a router in network namespaces of its own and
prints what a packet costs by path, family and number of flows, and what the
datapath costs new connections. Nothing of the machine's own network is touched,
and nothing is left behind.

The whole benchmark takes about twelve minutes, --quick less than twenty
seconds.`,
		Example: `  nft-offload bench flows --quick
  nft-offload bench flows --flows 1,16384 --family ip
  nft-offload bench flows --json > bench.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := benchable(e, o); err != nil {
				return err
			}
			p := e.progress()
			o.Progress = p.step
			r, err := bench.Flows(e.ctx, o)
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
	f.BoolVar(&o.Quick, "quick", false, "fewer rounds and flows")
	f.IntSliceVar(&o.Flows, "flows", nil, "numbers of flows, powers of two (default 1,1024,16384,131072,1048576)")
	f.StringSliceVar(&o.Families, "family", nil, "families, ip or ip6 (default both)")
	f.IntVar(&o.Rounds, "rounds", 0, "measurements of each path (default 7)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// benchable checks what bench and demo need.
func benchable(e *env, o bench.Options) error {
	if err := o.Check(); err != nil {
		return usage("%w", err)
	}
	if err := prepareMachine(e.places); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}
