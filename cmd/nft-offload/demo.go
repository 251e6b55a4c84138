package main

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/bench"
)

// errChecks says that the demo ran, and did not find what it should.
var errChecks = errors.New("the demo found something wrong: see the checks marked FAILED")

func demoCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "show what it does, in network namespaces of its own",
		Long: `demo joins a client, a router and a server in network namespaces, loads
examples/router.nft into the router, and sends TCP and UDP over IPv4 and IPv6
through it: by the slow path, by a bare redirect, and with "nft-offload run" at
tc and at XDP. Real connections then prove that nothing is changed on the way.

It takes less than a minute, touches nothing of the machine's own network, and
leaves nothing behind.`,
		Example: `  nft-offload demo
  nft-offload demo --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := prepareMachine(e.places); err != nil {
				return err
			}
			defer e.places.tidy()
			p := e.progress()
			r, err := bench.Demo(e.ctx, bench.DemoOptions{
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
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// daemonCommand is this program as the demo's daemon.
func daemonCommand(hook string) *exec.Cmd {
	device := func(name string) string { return fmt.Sprintf("--device=%s=%s", name, hook) }
	return exec.Command("/proc/self/exe", "run", device("r0"), device("r1"))
}
