package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exitCodesCommand is a help topic, too: `nft-offload help exit-codes`.
func exitCodesCommand(e *env) *cobra.Command {
	var asJSON bool
	var b strings.Builder
	b.WriteString("Exit codes of every command:\n\n")
	for _, i := range exitCodes() {
		wrap(&b, fmt.Sprintf("  %d  ", i.Code), i.Text, tableWidth)
	}
	c := &cobra.Command{
		Use:     "exit-codes",
		Short:   "the exit codes",
		Long:    strings.TrimRight(b.String(), "\n"),
		Example: "  nft-offload exit-codes --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return e.printJSON(exitCodes())
			}
			fmt.Fprint(e.stdout, b.String())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
