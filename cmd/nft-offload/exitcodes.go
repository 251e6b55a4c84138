package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exitCodesCommand is a help topic: `nft-offload help exit-codes`.
func exitCodesCommand(*env) *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes of every command:\n\n")
	for _, i := range exitCodes() {
		wrap(&b, fmt.Sprintf("  %d  ", i.code), i.text, tableWidth)
	}
	return &cobra.Command{Use: "exit-codes", Short: "the exit codes", Long: b.String()}
}
