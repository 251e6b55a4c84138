package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// run runs the command of the environment and returns the exit code. The error is one line on stderr.
func run(e *env) int {
	if e.stop != nil {
		defer e.stop()
	}
	root := rootCommand(e)
	root.SetArgs(e.args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(e.ctx)
	code := codeOf(err)
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintf(e.stderr, "nft-offload: %s\n", oneLine(err))
	}
	return int(code)
}

// errSilent ends a command whose output already says what is wrong.
var errSilent = errors.New("already said")

// oneLine renders an error on one line, a joined one too.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

// usage marks an error as the caller's mistake.
func usage(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

func rootCommand(e *env) *cobra.Command {
	var netns string
	root := &cobra.Command{
		Use:   "nft-offload",
		Short: "carry established flows of an nftables router past the slow path",
		Long: `nft-offload watches what the kernel does with the packets of a flow that the
ruleset hands to "flow add", and does the same to the next ones in eBPF at XDP or
tc. nftables stays the only configuration.`,
		Example: `  nft-offload load examples/router.nft
  nft-offload run
  nft-offload status`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if netns != "" {
				if err := e.enter(namespacePath(netns)); err != nil {
					return err
				}
			}
			if !speaksOfLoads(c.Name()) {
				e.sayPending()
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&netns, "netns", "", "work in this network namespace: a `NAME` of ip-netns(8) or a path")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; see `%s --help`", err, c.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(commands(e)...)
	for _, c := range root.Commands() {
		strictArgs(c)
	}
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("there is no command %q; see `nft-offload --help`", args[0])
		}
		return nil
	}
	return root
}

// commands are all commands, in the order of their names.
func commands(e *env) []*cobra.Command {
	return []*cobra.Command{
		benchCommand(e), confirmCommand(e), demoCommand(e), disableCommand(e), doctorCommand(e), enableCommand(e), exitCodesCommand(e), flowsCommand(e), guardCommand(e),
		loadCommand(e), planCommand(e), rollbackCommand(e), runCommand(e), statusCommand(e), traceCommand(e), versionCommand(e), whyCommand(e), withdrawCommand(e),
	}
}

// speaksOfLoads says which commands deal with a load that waits themselves, or say nothing to people.
func speaksOfLoads(command string) bool {
	switch command {
	case "load", "confirm", "rollback", guardName, "version", "exit-codes":
		return true
	}
	return false
}

// strictArgs gives errors about the number of arguments the exit code for usage.
func strictArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%w; see `%s --help`", err, c.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strictArgs(sub)
	}
}
