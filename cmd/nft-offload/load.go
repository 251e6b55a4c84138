package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// loweringFlags are what load and enable share.
type loweringFlags struct {
	lower bool
	mark  string
	json  bool
}

func (l *loweringFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&l.lower, "lower", false, "rewrite flow add even where the kernel has flowtables: rule changes then reach running flows")
	f.StringVar(&l.mark, "mark", "", "rewrite with this one `BIT` of the conntrack mark (0x80000000) in place of labels")
	f.BoolVar(&l.json, "json", false, "print JSON")
}

func (l *loweringFlags) options(e *env) (nft.Options, error) {
	o := nft.Options{Lower: l.lower, Stdin: e.stdin}
	if l.mark == "" {
		return o, nil
	}
	m, err := strconv.ParseUint(l.mark, 0, 32)
	if err != nil || m == 0 || m&(m-1) != 0 {
		return o, usage("--mark %q is not a number with one bit set, for example 0x80000000", l.mark)
	}
	o.Mark, o.Lower = uint32(m), true
	return o, nil
}

// confirmFlags are what load has besides.
type confirmFlags struct {
	asked  bool // for confirmation
	limit  time.Duration
	noWait bool
}

// Limits of --confirm: below, nobody can answer; above, somebody has forgotten it.
const (
	shortestConfirm = time.Second
	longestConfirm  = 24 * time.Hour
)

func (f *confirmFlags) check() error {
	if f.asked && (f.limit < shortestConfirm || f.limit > longestConfirm) {
		return usage("--confirm %s is not between %s and %s", f.limit, shortestConfirm, longestConfirm)
	}
	if f.noWait && !f.asked {
		return usage("--no-wait has no meaning without --confirm")
	}
	return nil
}

func loadCommand(e *env) *cobra.Command {
	var l loweringFlags
	var f confirmFlags
	c := &cobra.Command{
		Use:   "load FILE",
		Short: "load a ruleset with `flow add` rules, whatever the kernel has",
		Long: `load loads a ruleset (nft's language or its JSON, - for standard input) as
"nft -f" would, in one transaction. Devices of flowtables that do not exist are
reported: a flowtable of the kernel is loaded without them, a lowered one takes
them up when they appear, and in one a name as "eth*" means all that begin so.
"flags offload" is left out where a device refuses it.

Where the kernel has no flowtables (CONFIG_NF_FLOW_TABLE), or with --lower, each
"flow add" is rewritten to a conntrack label that the datapath looks for; what
differs from a kernel flowtable is listed. On any error the live ruleset stays.

With --confirm 30s the previous ruleset comes back after 30 seconds, unless
somebody runs "nft-offload confirm" (from a new session: that proves that one
can be opened) or presses enter here. Ctrl-C brings it back at once. A process
of its own watches over that: neither a lost session nor kill -9 of this command
leaves you locked out. The exit code is 0 when confirmed and 9 when rolled back.
With --no-wait the command returns when the ruleset is loaded; then nobody is
left to replace that process, should it be killed with kill -9.`,
		Example: `  nft-offload load examples/router.nft
  nft-offload load --lower /etc/nftables.conf
  nft-offload load --confirm 30s /etc/nftables.conf`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := l.options(e)
			if err != nil {
				return err
			}
			f.asked = c.Flags().Changed("confirm")
			if err := f.check(); err != nil {
				return err
			}
			if err := privileged(); err != nil {
				return err
			}
			src, err := nft.ReadSource(args[0], e.stdin)
			if err != nil {
				return err
			}
			if f.asked {
				return e.loadGuarded(src, o, f, l.json)
			}
			return e.load(src, o, l.json)
		},
	}
	l.add(c)
	c.Flags().DurationVar(&f.limit, "confirm", 0, "go back to the previous ruleset after this `TIME` unless confirmed")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "with --confirm: return at once, something else confirms")
	return c
}

// load loads for good.
func (e *env) load(src nft.Source, o nft.Options, asJSON bool) (err error) {
	// What waits is rolled back to a ruleset that has nothing of this one.
	l, err := e.holdLoads()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	r, err := nft.LoadSource(e.ctx, src, o)
	if err != nil {
		return err
	}
	err = l.places.forgetLoad(l.ns) // that an earlier one was rolled back
	if asJSON {
		return errors.Join(err, e.printJSON(r))
	}
	e.printReport("loaded "+src.Name, r)
	return err
}

// guardedReport is the JSON of a load with --confirm.
type guardedReport struct {
	nft.Report
	Confirmation confirmation `json:"confirmation"`
}

// loadGuarded loads and waits for confirmation.
func (e *env) loadGuarded(src nft.Source, o nft.Options, f confirmFlags, asJSON bool) error {
	l, err := e.beginGuarded(src, f.limit)
	if err != nil {
		return err
	}
	o.Begin = l.loading
	r, err := nft.LoadSource(e.ctx, src, o)
	if err != nil {
		return errors.Join(err, l.cancel())
	}
	waiting, guarded := l.loaded()
	if f.noWait && !guarded {
		// Nobody would be there to start another one.
		c, err := l.unguarded()
		if err != nil {
			return err
		}
		return notConfirmed(c)
	}
	said := e.stdout
	if asJSON {
		said = e.stderr // the document is printed when all is known
	} else {
		e.printReport("loaded "+src.Name, r)
	}
	var enter <-chan struct{}
	if !f.noWait {
		enter = e.enterKey()
	}
	how := "run `nft-offload confirm`, best in a new session"
	if enter != nil {
		how += ", or press enter here"
	}
	wrap(said, "", fmt.Sprintf("within %s %s; otherwise the previous ruleset comes back", f.limit, how), e.width())
	if f.noWait {
		l.leave()
		if asJSON {
			return e.printJSON(guardedReport{r, waiting})
		}
		return nil
	}
	c, err := l.await(enter)
	if err != nil {
		return err
	}
	if asJSON {
		err = e.printJSON(guardedReport{r, c})
	} else {
		err = e.printDecision(c, false)
	}
	if err != nil {
		return err
	}
	return notConfirmed(c)
}

// printReport says what was done to a ruleset on the way into the kernel.
func (e *env) printReport(what string, r nft.Report) {
	how := "with the kernel's own flowtables"
	switch {
	case r.Lowered:
		how = "lowered"
	case len(r.Flowtables) == 0:
		how = "which has no flowtable"
	}
	fmt.Fprintf(e.stdout, "%s, %s\n", what, how)
	for _, f := range r.Flowtables {
		fmt.Fprintf(e.stdout, "flowtable %s %s %s: %s\n", f.Family, f.Table, f.Name, orNone(f.Devices))
		if len(f.Missing) > 0 {
			what := "left out, because they do not exist"
			if r.Lowered {
				what = "taken up when they appear"
			}
			fmt.Fprintf(e.stdout, "  %s: %s\n", what, e.bad(strings.Join(f.Missing, ", ")))
		}
		if len(f.Patterns) > 0 {
			wrap(e.stdout, "  ", fmt.Sprintf("in place of %s, which this kernel's flowtables do not take (Linux 6.16 does); load again for devices that come later, or with --lower", strings.Join(f.Patterns, ", ")), e.width())
		}
		if f.Refused != "" {
			wrap(e.stdout, "  ", "without `flags offload`: "+f.Refused, e.width())
		}
	}
	if len(r.Deviations) > 0 {
		fmt.Fprintln(e.stdout, "different from a kernel flowtable:")
	}
	for _, d := range r.Deviations {
		wrap(e.stdout, "  - ", d, e.width())
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no device"
	}
	return strings.Join(names, ", ")
}
