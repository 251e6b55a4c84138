package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/engine"
)

func statusCommand(e *env) *cobra.Command {
	var asJSON, rules bool
	c := &cobra.Command{
		Use:   "status",
		Short: "show devices, hooks, flows, hit rate and why packets went slow",
		Long: `status asks the running daemon: which device is at which hook and why not at
another, how many flows are in the table, how many packets and bytes took which
path, and the reasons of those that stayed slow.

--rules shows what each rule of an ingress chain has counted: nftables' own
counter, and what a program counted of packets that it ended before.

Without a daemon it exits with code 5 and says whether a datapath is pinned.`,
		Example: `  nft-offload status
  nft-offload status --rules
  nft-offload status --json | jq .stats.reasons`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := e.client()
			if err != nil {
				return err
			}
			if rules {
				return e.statusRules(c, asJSON)
			}
			s, err := c.Status(e.ctx)
			if err != nil {
				return e.noDaemon(err)
			}
			if asJSON {
				return e.printJSON(s)
			}
			e.printStatus(s, time.Now())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&rules, "rules", false, "show the counters of rules instead")
	return c
}

// client returns a client of this namespace's daemon.
func (e *env) client() (*api.Client, error) {
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	return api.NewClient(e.places.socket(ns)), nil
}

// noDaemon completes the news that there is no daemon with what is known about the datapath.
func (e *env) noDaemon(err error) error {
	if !errors.Is(err, api.ErrNoDaemon) {
		return err
	}
	ns, nsErr := namespace()
	if nsErr != nil {
		return nsErr
	}
	carries, carryErr := e.places.carries(ns)
	switch {
	case carryErr != nil:
		return fmt.Errorf("%w; start one with `nft-offload run`", err)
	case carries:
		return fmt.Errorf("%w, but its datapath is pinned and carries flows under their leases; `nft-offload run` adopts it, `nft-offload withdraw` removes it", err)
	}
	return fmt.Errorf("%w and no datapath is pinned; start one with `nft-offload run`", err)
}

// reasonsShown bounds the list of reasons; --json has all.
const reasonsShown = 12

func (e *env) printStatus(s engine.Status, now time.Time) {
	w := e.stdout
	fmt.Fprintf(w, "%s %s, pid %d, up %s, lease %s\n", e.bold("nft-offload"), s.Version, s.PID,
		span(now.Sub(s.Since)), span(time.Duration(s.Settings.Lease)))
	if s.Adopted {
		fmt.Fprintln(w, "adopted the datapath of an earlier run")
	}
	e.printFlowtables(s)
	e.printDevices(s.Devices)
	e.printRuled(s.Rules, now)
	fmt.Fprintf(w, "\nflows    %d directions, %d of them ready; room for %d per family, %s each\n",
		s.Stats.Flows, s.Stats.Ready, s.Stats.MaxFlows, size(uint64(s.Stats.BytesPerFlow)))
	fmt.Fprintf(w, "hit rate %s of the packets that arrived on these devices\n", percent(s.Stats.HitRate()))
	fmt.Fprintf(w, "changes  %d, last %s\n\n", s.Generations.Count, lastChange(s.Generations, now))
	e.printPaths(s.Stats)
	e.printReasons(s.Stats.Reasons)
	for _, p := range s.Problems {
		wrap(w, "", fmt.Sprintf("problem %s ago (%d times): %s", span(now.Sub(p.Time)), p.Times, p.Text), e.width())
	}
}

func lastChange(g engine.Generations, now time.Time) string {
	if g.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%s ago (%s)", span(now.Sub(g.Last)), g.Why)
}

func (e *env) printFlowtables(s engine.Status) {
	for _, f := range s.Flowtables {
		kind := "kernel flowtable"
		if f.Lowered {
			kind = "lowered flowtable"
		}
		fmt.Fprintf(e.stdout, "%s %s %s %s\n", kind, f.Family, f.Table, f.Name)
	}
	if len(s.Flowtables) == 0 {
		wrap(e.stdout, "", "the ruleset has no flowtable, so nothing is carried: write `flow add` rules, or run `nft-offload enable DEVICE DEVICE`", e.width())
	}
}

func (e *env) printDevices(ds []engine.Decision) {
	if len(ds) == 0 {
		return
	}
	fmt.Fprintln(e.stdout)
	for _, d := range ds {
		e.printDevice(d)
	}
}

func (e *env) printDevice(d engine.Decision) {
	color := e.good
	if d.Hook == engine.Off {
		color = e.bad
	}
	w := e.stdout
	// Colored at last: escapes take no columns.
	var head strings.Builder
	hook, _, _ := strings.Cut(d.Where(), " ")
	wrap(&head, fmt.Sprintf("device %s: ", d.Name), d.Where(), e.width())
	fmt.Fprint(w, strings.Replace(head.String(), fmt.Sprintf("device %s: %s", d.Name, hook), fmt.Sprintf("device %s: %s", e.bold(d.Name), color(hook)), 1))
	for _, r := range d.Reasons() {
		wrap(w, "  ", fmt.Sprintf("[%s] %s", r.Code, r.Error()), e.width())
	}
	for _, u := range d.SlowAbove() {
		wrap(w, "  ", fmt.Sprintf("[%s] flows through %s stay slow: %s", u.Reason.Code, u.Name, u.Reason.Error()), e.width())
	}
}

func (e *env) printPaths(s engine.Stats) {
	t := newTable(-1, "PATH", ">PACKETS", ">BYTES")
	for _, h := range []engine.Hook{engine.XDP, engine.TC} {
		t.row("fast, "+string(h), number(s.Fast[h].Packets), size(s.Fast[h].Bytes))
	}
	t.row("slow", number(s.Slow.Packets), size(s.Slow.Bytes))
	t.write(e.stdout, e.width())
}

func (e *env) printReasons(all []engine.Count) {
	if len(all) == 0 {
		return
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b engine.Count) int { return cmp.Compare(b.Packets, a.Packets) })
	fmt.Fprintln(e.stdout)
	t := newTable(2, "REASON", ">PACKETS", "MEANING")
	for _, c := range all[:min(len(all), reasonsShown)] {
		t.row(c.Code, number(c.Packets), c.Text)
	}
	t.write(e.stdout, e.width())
	if n := len(all) - reasonsShown; n > 0 {
		fmt.Fprintf(e.stdout, "and %d more: --json\n", n)
	}
}
