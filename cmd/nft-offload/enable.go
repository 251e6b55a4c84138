package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/nft"
)

func enableCommand(e *env) *cobra.Command {
	var l loweringFlags
	c := &cobra.Command{
		Use:   "enable DEVICE...",
		Short: "offload all established flows between devices, without editing the ruleset",
		Long: `enable is for rulesets that have no "flow add" (Docker, iptables-nft, most that
are written by hand): it adds the table inet nft_offload with one flowtable over
the devices and one rule, late in the forward hook, so that flows which other
chains drop never get there. Nothing else is touched; "disable" removes it.`,
		Example: `  nft-offload enable eth0 eth1
  nft-offload run`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			o, err := l.options(e)
			if err != nil {
				return err
			}
			if err := privileged(); err != nil {
				return err
			}
			hold, err := e.holdLoads()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, hold.release()) }()
			r, err := nft.Enable(e.ctx, args, o)
			if _, ok := errors.AsType[*nft.DeviceError](err); ok {
				return fmt.Errorf("%w; see `ip link`", err)
			}
			if err != nil {
				return err
			}
			if l.json {
				return e.printJSON(r)
			}
			e.printReport("enabled table inet "+nft.Table, r)
			return nil
		},
	}
	l.add(c)
	return c
}

func disableCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "disable",
		Short:   "remove what `enable` added",
		Long:    "disable removes the table that enable made. Where there is none it does nothing,\nand that is no error.",
		Example: "  nft-offload disable",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			if err := privileged(); err != nil {
				return err
			}
			hold, err := e.holdLoads()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, hold.release()) }()
			removed, err := nft.Disable(e.ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return e.printJSON(struct {
					Removed bool `json:"removed"`
				}{removed})
			}
			if removed {
				fmt.Fprintf(e.stdout, "removed table inet %s\n", nft.Table)
				return nil
			}
			fmt.Fprintln(e.stdout, "not enabled: nothing to remove")
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
