package main

import (
	"fmt"
	"strconv"
	"strings"

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

func loadCommand(e *env) *cobra.Command {
	var l loweringFlags
	c := &cobra.Command{
		Use:   "load FILE",
		Short: "load a ruleset with `flow add` rules, whatever the kernel has",
		Long: `load loads a ruleset (nft's language or its JSON, - for standard input) as
"nft -f" would, in one transaction. Devices of flowtables that do not exist are
left out and reported, and so is "flags offload" where a device refuses it.

Where the kernel has no flowtables (CONFIG_NF_FLOW_TABLE), or with --lower, each
"flow add" is rewritten to a conntrack label that the datapath looks for; what
differs from a kernel flowtable is listed. On any error the live ruleset stays.`,
		Example: `  nft-offload load examples/router.nft
  nft-offload load --lower /etc/nftables.conf`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o, err := l.options(e)
			if err != nil {
				return err
			}
			if err := privileged(); err != nil {
				return err
			}
			r, err := nft.Load(e.ctx, args[0], o)
			if err != nil {
				return err
			}
			if l.json {
				return e.printJSON(r)
			}
			e.printReport("loaded "+args[0], r)
			return nil
		},
	}
	l.add(c)
	return c
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
			fmt.Fprintf(e.stdout, "  left out, because they do not exist: %s\n", e.bad(strings.Join(f.Missing, ", ")))
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
