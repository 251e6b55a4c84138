package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// runOptions are the flags of run.
type runOptions struct {
	devices    []string
	lease      time.Duration
	maxFlows   uint32
	minPackets uint32
	keep       bool
	logLevel   string
	rules      string
	json       bool

	choices engine.Choices
	level   slog.Level
}

// What --rules may say.
const (
	rulesAuto = "auto"
	rulesOff  = "off"
)

// Limits of --lease. Below, renewals would be a large part of the packets, and half of it has to be longer than a
// renewal takes; above, a change that nobody reports would take too long to be in force.
const (
	defaultLease  = 2 * time.Second
	shortestLease = 500 * time.Millisecond
	longestLease  = time.Minute
)

// Defaults and limits of flags: those of the datapath.
const (
	defaultMaxFlows   = 131072
	defaultMinPackets = 4
	mostMinPackets    = 255 // its counters have 8 bits
)

func runCommand(e *env) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run",
		Short: "carry flows until stopped (the daemon, in the foreground)",
		Long: `run reads the live ruleset, attaches to the devices of every flowtable (the
kernel's own, or lowered by "load"), and keeps the fast path in step with rules,
routes, neighbors and devices. Ruleset and routing stay as they are.

The first SIGINT or SIGTERM withdraws everything; with --keep the datapath
stays, carries the flows it knows under their leases, and the next run adopts
it. After kill -9 the same happens.

Devices are chosen by the flowtables; --device changes the hook of one:
xdp, tc or off. The default is xdp for physical devices that can, else tc.

Rules of netdev and inet ingress chains that drop, or send packets on, are
executed by a program at the same hook, before the kernel looks at the packet;
nftables still executes all of them on what the program lets through, and on
everything while rules change or no daemon runs. --rules off leaves them to
nftables alone.`,
		Example: `  nft-offload run
  nft-offload run --device eth0=xdp --device wan=tc
  nft-offload run --netns router --lease 5s --log-level debug`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return daemon(e, &o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.devices, "device", nil, "`DEVICE=xdp|tc|off`: the hook of one device; may be repeated")
	f.DurationVar(&o.lease, "lease", defaultLease, "no packet takes the fast path longer than this without the kernel's word; renewed at half of it")
	f.Uint32Var(&o.maxFlows, "max-flows", defaultMaxFlows, "room in the table, in directions of flows, for each of IPv4 and IPv6")
	f.Uint32Var(&o.minPackets, "min-packets", defaultMinPackets, "packets of a direction before an entry is made: short flows stay slow")
	f.StringVar(&o.rules, "rules", rulesAuto, "`auto|off`: execute rules of ingress chains early where that is possible, or leave all to nftables")
	f.BoolVar(&o.keep, "keep", false, "leave the datapath running when stopped")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&o.json, "json", false, "log in JSON")
	return c
}

func (o *runOptions) check() error {
	o.choices = engine.Choices{}
	for _, d := range o.devices {
		if err := o.choices.Set(d); err != nil {
			return usage("--device: %w", err)
		}
	}
	if o.lease < shortestLease || o.lease > longestLease {
		return usage("--lease %s is not between %s and %s", o.lease, shortestLease, longestLease)
	}
	if o.maxFlows < 2 {
		return usage("--max-flows %d: a flow needs room for two directions", o.maxFlows)
	}
	if o.minPackets < 1 || o.minPackets > mostMinPackets {
		return usage("--min-packets %d is not between 1 and %d", o.minPackets, mostMinPackets)
	}
	if o.rules != rulesAuto && o.rules != rulesOff {
		return usage("--rules %q is neither auto nor off", o.rules)
	}
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usage("--log-level %q is not debug, info, warn or error", o.logLevel)
	}
	return nil
}

func (o *runOptions) logger(e *env) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.level}
	if o.json {
		return slog.New(slog.NewJSONHandler(e.stderr, h))
	}
	return slog.New(slog.NewTextHandler(e.stderr, h))
}

// settings are what the status shows of the options.
func (o *runOptions) settings() engine.Settings {
	return engine.Settings{Lease: engine.Seconds(o.lease), MinPackets: o.minPackets, Keep: o.keep}
}

func (o *runOptions) String() string {
	return fmt.Sprintf("lease %s, max-flows %d, min-packets %d", o.lease, o.maxFlows, o.minPackets)
}
