package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/engine"
)

func flowsCommand(e *env) *cobra.Command {
	var src, dst, port, proto string
	var asJSON bool
	c := &cobra.Command{
		Use:   "flows",
		Short: "list the flows in the table, the busiest first",
		Long: `flows lists the directions of flows that are in the table: tuple, translation,
devices, packets and bytes carried, age, and how long the lease still holds. A
filter on an address or port matches it before or after translation.

Without a daemon it exits with code 5 and says whether a datapath is pinned.`,
		Example: `  nft-offload flows
  nft-offload flows --src 10.0.0.0/8 --port 443 --proto tcp
  nft-offload flows --json | jq '[.[] | .bytes] | add'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := engine.ParseFilter(src, dst, port, proto)
			if err != nil {
				return usage("%w", err)
			}
			if f.Src.IsValid() && f.Dst.IsValid() && f.Src.Addr().Is4() != f.Dst.Addr().Is4() {
				return usage("no flow goes from %s to %s: one is IPv4 and the other IPv6", src, dst)
			}
			c, err := e.client()
			if err != nil {
				return err
			}
			flows, err := c.Flows(e.ctx, src, dst, port, proto)
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
	f := c.Flags()
	f.StringVar(&src, "src", "", "source `ADDRESS` or prefix")
	f.StringVar(&dst, "dst", "", "destination `ADDRESS` or prefix")
	f.StringVar(&port, "port", "", "source or destination `PORT`")
	f.StringVar(&proto, "proto", "", "tcp or udp")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printFlows takes two or three lines a flow: IPv6 addresses leave no room for one.
func (e *env) printFlows(flows []engine.Flow) {
	for _, f := range flows {
		state := f.State
		if f.State == "ready" {
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
