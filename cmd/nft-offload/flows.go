package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// filterFlags say which flows are meant.
type filterFlags struct{ src, dst, port, proto string }

func (f *filterFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.src, "src", "", "source `ADDRESS` or prefix")
	flags.StringVar(&f.dst, "dst", "", "destination `ADDRESS` or prefix")
	flags.StringVar(&f.port, "port", "", "source or destination `PORT`")
	flags.StringVar(&f.proto, "proto", "", "tcp or udp")
}

// filter reads the conditions; none means all flows.
func (f *filterFlags) filter() (engine.Filter, error) {
	filter, err := engine.ParseFilter(f.src, f.dst, f.port, f.proto)
	if err != nil {
		return filter, usage("%w", err)
	}
	return filter, nil
}

// some is filter for commands that mean all flows only when they are told so.
func (f *filterFlags) some(all bool) (engine.Filter, error) {
	filter, err := f.filter()
	none := filter == (engine.Filter{})
	switch {
	case err != nil:
		return filter, err
	case none && !all:
		return filter, usage("which flows? --src, --dst, --port or --proto, or --all")
	case !none && all:
		return filter, usage("--all and a condition: which of them is meant?")
	}
	return filter, nil
}

func flowsCommand(e *env) *cobra.Command {
	var ff filterFlags
	var refused, asJSON bool
	c := &cobra.Command{
		Use:   "flows",
		Short: "list the flows in the table, the busiest first; flush or hold some",
		Long: `flows lists the directions of flows that are in the table: tuple, translation,
devices, packets and bytes carried, age, and how long the lease still holds.

With --refused it lists the flows that the ruleset handed to "flow add" and that
are not carried all the same: why, and what to do. It is made from samples of
the last minute, a thousand a second and CPU at most.

A filter means a flow when one of its directions, before or after translation,
meets all conditions: it does not matter who began, nor on which side of NAT the
address is. Here and in the commands below, --src and --dst take prefixes.

Without a daemon it exits with code 5 and says whether a datapath is pinned.`,
		Example: `  nft-offload flows
  nft-offload flows --src 10.0.0.0/8 --port 443 --proto tcp
  nft-offload flows --refused
  nft-offload flows --json | jq '[.[] | .bytes] | add'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := ff.filter()
			if err != nil {
				return err
			}
			c, err := e.client()
			if err != nil {
				return err
			}
			if refused {
				return e.showRefused(c, f, asJSON)
			}
			flows, err := c.Flows(e.ctx, ff.src, ff.dst, ff.port, ff.proto)
			if err != nil {
				return e.noDaemon(err)
			}
			if asJSON {
				return e.printJSON(flows)
			}
			e.printFlows(flows)
			return nil
		},
	}
	c.Flags().BoolVar(&refused, "refused", false, "list flows that were handed over and are not carried, with reasons")
	ff.add(c.PersistentFlags())
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(flushCommand(e, &ff, &asJSON), holdCommand(e, &ff, &asJSON), releaseCommand(e, &ff, &asJSON))
	return c
}

// printFlows takes two or three lines a flow: IPv6 addresses leave no room for one.
func (e *env) printFlows(flows []engine.Flow) {
	for _, f := range flows {
		state := f.State
		if f.State == engine.StateReady {
			state = e.good(state)
		}
		fmt.Fprintf(e.stdout, "%s %s > %s\n", e.bold(f.Proto), f.Src, f.Dst)
		if f.NAT() {
			fmt.Fprintf(e.stdout, "    leaves as %s > %s\n", f.NATSrc, f.NATDst)
		}
		fmt.Fprintf(e.stdout, "    %s > %s  %s %s  %s packets  %s  age %s  lease %s\n",
			device(f.In, f.InIndex), device(f.Out, f.OutIndex), f.Hook, state, number(f.Packets), size(f.Bytes),
			span(time.Duration(f.Age)), lease(f))
	}
	if len(flows) == 0 {
		fmt.Fprintln(e.stdout, "no flows")
	}
}

func device(name string, index uint32) string {
	if name == "" {
		return fmt.Sprintf("#%d", index)
	}
	return name
}

func lease(f engine.Flow) string {
	if f.Lease <= 0 {
		return "over"
	}
	return span(time.Duration(f.Lease))
}
