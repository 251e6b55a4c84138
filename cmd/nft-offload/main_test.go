package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestMain lets the test binary be the program itself: scripts, and `--netns` which starts it anew, call that.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nft-offload": main})
}

// TestScripts runs testdata/script. Each script gets a namespace $NS with the veth devices r0 and r1 in it, and the
// command `code N PROGRAM ARGS...`, which checks an exit code.
func TestScripts(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT, testkit.BPF, testkit.Tc)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			ns := testkit.NewNS(t, "script")
			ns.Script("ip link add r0 type veth peer name c0\nip link add r1 type veth peer name s0")
			for _, d := range []string{"r0", "c0", "r1", "s0"} {
				ns.Run("ip", "link", "set", d, "up")
			}
			e.Setenv("NS", ns.Name)
			e.Values["ns"] = ns
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": checkCode, "inside": inside},
	})
}

// checkCode runs a command and checks its exit code: code 7 nft-offload load broken.nft
func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); err != nil {
		if !asExit(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func asExit(err error, into **exec.ExitError) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // testscript returns it as it is
	*into = exit
	return ok
}

// inside runs a command in the namespace: inside nft list ruleset. Its output is thrown away.
func inside(ts *testscript.TestScript, neg bool, args []string) {
	ns, ok := ts.Value("ns").(*testkit.NS)
	if !ok || len(args) == 0 {
		ts.Fatalf("usage: inside program args...")
	}
	for i, a := range args {
		if strings.HasPrefix(a, "./") {
			args[i] = ts.MkAbs(a)
		}
	}
	out, err := ns.Try(args[0], args[1:]...)
	ts.Logf("%s", out)
	if (err != nil) != neg {
		ts.Fatalf("inside %v: %v", args, err)
	}
}

func TestHelpOfEveryCommandHasAnExampleAndFits(t *testing.T) {
	helpFits(t, rootCommand(&env{}).Commands())
}

func helpFits(t *testing.T, commands []*cobra.Command) {
	t.Helper()
	for _, c := range commands {
		helpFits(t, c.Commands())
		if c.Run == nil && c.RunE == nil || c.Hidden {
			continue // a help topic, or of no use to people
		}
		if c.Long == "" || c.Example == "" {
			t.Errorf("%s: no long help or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(strings.TrimRight(line, "\n")) > tableWidth {
				t.Errorf("%s: help line is longer than %d: %s", c.CommandPath(), tableWidth, line)
			}
		}
		if c.Flag("json") == nil && len(c.Commands()) == 0 {
			t.Errorf("%s: no --json", c.CommandPath())
		}
	}
}

const exitCodesDoc = "../../docs/exit-codes.md"

// TestExitCodesAreDocumented compares docs/exit-codes.md with the code; UPDATE_DOCS=1 writes it.
func TestExitCodesAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Exit codes\n\nThe same for every command; `nft-offload help exit-codes` prints them.\n\n| code | name | meaning |\n|---|---|---|\n")
	for i, c := range exitCodes() {
		if int(c.Code) != i {
			t.Errorf("exit code %d is at place %d", c.Code, i)
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", c.Code, c.Name, c.Text)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(exitCodesDoc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(exitCodesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the code says; UPDATE_DOCS=1 writes it:\n%s", exitCodesDoc, b.String())
	}
}
