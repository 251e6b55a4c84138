package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/bench"
)

// errChecks says that the demo ran, and did not find what it should.
var errChecks = errors.New("the demo found something wrong: see the checks marked FAILED")

func demoCommand(e *env) *cobra.Command {
	var asJSON, shaped, rules bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "show what it does, in network namespaces of its own",
		Long: `demo joins a client, a router and a server in network namespaces, loads
examples/router.nft into the router, and sends TCP and UDP over IPv4 and IPv6
through it: by the slow path, by a bare redirect, and with "nft-offload run" at
tc and at XDP. Real connections then prove that nothing is changed on the way.

With --shaped the router's uplink has the shaper of examples/shaping.tc, and
examples/shaping.nft says which class a packet belongs to. An upload and two
thin flows show that rate and classes are those of the slow path.

With --rules the router has a netdev ingress chain with a blocklist of 100,000
prefixes, which drops at XDP while the daemon runs, and is changed with nft
while traffic flows.

It takes less than a minute, touches nothing of the machine's own network, and
leaves nothing behind.`,
		Example: `  nft-offload demo
  nft-offload demo --shaped --json
  nft-offload demo --rules`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := prepareMachine(e.places); err != nil {
				return err
			}
			defer e.places.tidy()
			p := e.progress()
			r, err := runDemo(e.ctx, shaped, rules, bench.DemoOptions{
				Daemon: daemonCommand, Socket: e.places.socket, Pins: e.places.pins, Progress: p.step,
			})
			p.clear()
			if err != nil {
				return interrupted(err)
			}
			if asJSON {
				err = e.printJSON(r)
			} else {
				err = r.WriteText(e.stdout)
			}
			if err == nil && !r.OK() {
				err = withCode(exitFailure, errChecks)
			}
			return err
		},
	}
	c.Flags().BoolVar(&shaped, "shaped", false, "show a shaper on the uplink instead")
	c.Flags().BoolVar(&rules, "rules", false, "show a blocklist at XDP instead")
	c.MarkFlagsMutuallyExclusive("shaped", "rules")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// demoReport is what all demos come to.
type demoReport interface {
	WriteText(w io.Writer) error
	OK() bool
}

func runDemo(ctx context.Context, shaped, rules bool, o bench.DemoOptions) (demoReport, error) {
	switch {
	case shaped:
		return bench.ShapedDemo(ctx, o)
	case rules:
		return bench.RulesDemo(ctx, o)
	default:
		return bench.Demo(ctx, o)
	}
}

// daemonCommand is this program as the demo's daemon.
func daemonCommand(hook string) *exec.Cmd {
	device := func(name string) string { return fmt.Sprintf("--device=%s=%s", name, hook) }
	return exec.Command("/proc/self/exe", "run", device("r0"), device("r1"))
}
