package daemon_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// guardFiles are what a load with --confirm keeps for a namespace.
func guardFiles(t *testing.T, ns *testkit.NS) []string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(fmt.Sprintf("/run/nft-offload/%d.load*", st.Ino))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// decided checks that a load was decided: the ruleset is the wanted one, and nothing is kept for a rollback.
func decided(t *testing.T, ns *testkit.NS, want string) {
	t.Helper()
	if now := rulesetOf(ns); now != want {
		t.Errorf("the ruleset is\n%s", now)
	}
	if files := guardFiles(t, ns); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}

// guardOf is the pid of the process that guards a load, as its lock file says; 0 where nobody does.
func guardOf(t *testing.T, ns *testkit.NS) int {
	t.Helper()
	for _, f := range guardFiles(t, ns) {
		if !strings.HasSuffix(f, ".lock") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return 0
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return 0
		}
		return pid
	}
	return 0
}

// confirming is a running `load --confirm`.
type confirming struct {
	*exec.Cmd
	t     *testing.T
	ns    *testkit.NS
	out   *bytes.Buffer
	lines *bufio.Scanner
}

// loadConfirm starts a load with --confirm and returns when it waits to be confirmed.
func loadConfirm(t *testing.T, ns *testkit.NS, limit time.Duration, text string, flags ...string) *confirming {
	t.Helper()
	c := &confirming{t: t, ns: ns, out: &bytes.Buffer{}}
	c.Cmd = exec.Command(daemon.Binary(t), append([]string{"load", "--confirm", limit.String(), write(t, "new.nft", text)}, flags...)...)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.start(stdout)
	return c
}

func (c *confirming) start(output io.Reader) {
	c.t.Helper()
	c.Stderr = c.out
	if err := c.ns.Start(c.Cmd); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.end)
	c.lines = bufio.NewScanner(output)
	for c.lines.Scan() {
		if strings.Contains(c.lines.Text(), "within ") {
			return
		}
	}
	_ = c.Wait()
	c.t.Fatalf("load ended before it waited: %s", c.out)
}

// end kills the command and its guard, whatever the test has left.
func (c *confirming) end() {
	_ = c.Process.Kill()
	_, _ = c.Process.Wait()
	if pid := guardOf(c.t, c.ns); pid > 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	_, _ = daemon.Command(c.t, c.ns, "rollback")
	_, _ = daemon.Command(c.t, c.ns, "confirm")
}

// code waits for the end and returns the exit code.
func (c *confirming) code() int {
	c.t.Helper()
	var said []string
	for c.lines.Scan() { // to its end, or Wait loses it
		said = append(said, c.lines.Text())
	}
	code := daemon.ExitCode(c.Wait())
	c.out.WriteString(strings.Join(said, "\n")) // only now: until here it was the command's
	return code
}

func rulesetOf(ns *testkit.NS) string { return ns.Run("nft", "-s", "list", "ruleset") }

// awaitRuleset waits for a ruleset, and for the end of whoever brought it back.
func awaitRuleset(t *testing.T, ns *testkit.NS, want string, limit time.Duration) {
	t.Helper()
	testkit.MustAwait(t, limit, func() error {
		if now := rulesetOf(ns); now != want {
			return fmt.Errorf("the ruleset is\n%s\nand not\n%s", now, want)
		}
		if pid := guardOf(t, ns); pid != 0 {
			return fmt.Errorf("process %d still guards it", pid)
		}
		return nil
	})
}
