package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/engine"
)

func flushCommand(e *env, ff *filterFlags, asJSON *bool) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "flush",
		Short: "remove flows from the table: slow at once, and learned again",
		Long: `flush ends flows in the table, both directions. Their next packets take the slow
path, where rules, routes and neighbors decide anew, and if the kernel still
forwards them they are fast again after a second or two. Nothing is lost:
connections, conntrack and NAT stay as they are.

Without a condition it needs --all.`,
		Example: `  nft-offload flows flush --src 10.0.1.2
  nft-offload flows flush --all --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := ff.some(all)
			if err != nil {
				return err
			}
			c, err := e.client()
			if err != nil {
				return err
			}
			n, err := c.Flush(e.ctx, f)
			if err != nil {
				return e.noDaemon(err)
			}
			if *asJSON {
				return e.printJSON(n)
			}
			fmt.Fprintf(e.stdout, "flushed %s\n", flushed(n))
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all flows")
	return c
}

// defaultHold is what a look with tcpdump takes.
const defaultHold = time.Minute

func holdCommand(e *env, ff *filterFlags, asJSON *bool) *cobra.Command {
	var all, list bool
	var period time.Duration
	c := &cobra.Command{
		Use:   "hold",
		Short: "keep flows slow for a while, so that tcpdump and counters see them",
		Long: `hold keeps flows on the slow path for a while: those in the table leave it, and
nothing is learned of them until the time is over. So taps, rule counters, logs
and limits see each of their packets. The hold ends by itself, also when the
daemon dies; the same conditions again begin anew. (A flowtable of the kernel
keeps the flows that it has: rules see those only with "load --lower".)

There is room for 16 holds. Without a condition it needs --all.`,
		Example: `  nft-offload flows hold --src 10.0.1.2 --port 443 --for 60s
  nft-offload flows hold --list`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if list {
				return e.listHolds(ff, all, *asJSON)
			}
			if period < engine.ShortestHold || period > engine.LongestHold {
				return usage("--for %s is not between %s and %s", period, engine.ShortestHold, engine.LongestHold)
			}
			return e.hold(ff, all, period, *asJSON)
		},
	}
	f := c.Flags()
	f.DurationVar(&period, "for", defaultHold, "how long, at most a day")
	f.BoolVar(&all, "all", false, "all flows")
	f.BoolVar(&list, "list", false, "list the holds in force")
	return c
}

// held is what hold did.
type held struct {
	engine.Hold
	Flushed engine.Flushed `json:"flushed"`
}

func (e *env) hold(ff *filterFlags, all bool, d time.Duration, asJSON bool) error {
	f, err := ff.some(all)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	n, err := c.Hold(e.ctx, f, d)
	if err != nil {
		return e.noDaemon(err)
	}
	if asJSON {
		return e.printJSON(held{engine.Hold{Filter: f, Left: engine.Seconds(d)}, n})
	}
	fmt.Fprintf(e.stdout, "holding %s for %s; %s went slow\n", f, d, flushed(n))
	return nil
}

func (e *env) listHolds(ff *filterFlags, all, asJSON bool) error {
	if *ff != (filterFlags{}) || all {
		return usage("--list lists all holds; it takes no condition")
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	holds, err := c.Holds(e.ctx)
	if err != nil {
		return e.noDaemon(err)
	}
	if asJSON {
		return e.printJSON(holds)
	}
	if len(holds) == 0 {
		fmt.Fprintln(e.stdout, "no holds")
		return nil
	}
	t := newTable(0, "HELD", ">LEFT")
	for _, h := range holds {
		t.row(h.String(), span(time.Duration(h.Left)))
	}
	t.write(e.stdout, e.width())
	return nil
}

func releaseCommand(e *env, ff *filterFlags, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "end holds before their time",
		Long: `release ends the holds that have all the conditions given: of prefixes, the
hold's may be longer. Without a condition it ends all holds. The flows are
learned again by themselves.`,
		Example: `  nft-offload flows release
  nft-offload flows release --port 443`,
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
			n, err := c.Release(e.ctx, f)
			if err != nil {
				return e.noDaemon(err)
			}
			if *asJSON {
				return e.printJSON(struct {
					Released int `json:"released"`
				}{n})
			}
			fmt.Fprintf(e.stdout, "released %s\n", counted(n, "hold"))
			return nil
		},
	}
}

func flushed(n engine.Flushed) string {
	return fmt.Sprintf("%s (%s)", counted(n.Flows, "flow"), counted(n.Directions, "direction"))
}

// counted renders "1 flow", "2 flows".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
