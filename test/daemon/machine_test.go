package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// leavesNothing fails the test unless, at its end, the machine is as now: eBPF objects, what is pinned and kept for
// each namespace, and the namespaces themselves.
func leavesNothing(t *testing.T, spaces ...*testkit.NS) {
	t.Helper()
	const settle = 10 * time.Second // RCU grace periods
	for _, n := range spaces {
		testkit.MustAwait(t, settle, func() error { return settled(n) })
	}
	before, err := testkit.Snapshot(withState(t, spaces...), spaces...)
	if err != nil {
		t.Fatal(err)
	}
	names := namespaceNames(t)
	t.Cleanup(func() {
		if err := before.AwaitRestored(settle); err != nil {
			t.Error(err)
		}
		for name := range namespaceNames(t) {
			// Those of tests, which may run beside this one, are called so by testkit.NewNS.
			if !names[name] && !strings.HasPrefix(name, "nfo-") {
				t.Errorf("network namespace %s is left", name)
			}
		}
	})
}

// settled waits for the operational state of devices, which follows their coming up (net/core/link_watch.c).
func settled(n *testkit.NS) error {
	devices, err := n.Try("ip", "-brief", "link", "show", "up")
	if err == nil && strings.Contains(devices, "DOWN") {
		return fmt.Errorf("devices are not running: %s", devices)
	}
	return err
}

// withState are the usual options, and the files that belong to the namespaces; where nothing runs beside the tests,
// those of all namespaces.
func withState(t *testing.T, spaces ...*testkit.NS) testkit.SnapshotOptions {
	t.Helper()
	o := snapshotOptions()
	if os.Getenv(testkit.StrictEnv) != "" {
		o.Dirs = []string{"/run/nft-offload", "/sys/fs/bpf/nft-offload", "/sys/fs/bpf/nft-offload-bench"}
		return o
	}
	for _, n := range spaces {
		var st unix.Stat_t
		if err := unix.Fstat(n.Fd(), &st); err != nil {
			t.Fatal(err)
		}
		o.Dirs = append(o.Dirs, fmt.Sprintf("/run/nft-offload/%d.lock", st.Ino), fmt.Sprintf("/run/nft-offload/%d.sock", st.Ino),
			fmt.Sprintf("/sys/fs/bpf/nft-offload/%d", st.Ino))
	}
	return o
}

func namespaceNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// marked finds processes by an environment variable that they inherited: "NAME=VALUE".
func marked(t *testing.T, variable string) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		env, err := os.ReadFile(f)
		if err != nil {
			continue // gone meanwhile
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if string(v) == variable {
				found = append(found, filepath.Dir(f))
			}
		}
	}
	return found
}

// said is what a command did.
type said struct {
	stdout, stderr string
	code           int
}

// outcome runs a command of the program inside a namespace, with its two streams apart.
func outcome(t *testing.T, ns *testkit.NS, cmd *exec.Cmd) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	// What is refused is refused at once; a command that goes on instead is ended.
	stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stuck.Stop()
	err := cmd.Wait()
	return said{stdout.String(), stderr.String(), daemon.ExitCode(err)}
}

// refused checks that a command ended with the exit code, and with one line on stderr that has all the words.
func (s said) refused(t *testing.T, code int, words ...string) {
	t.Helper()
	if s.code != code {
		t.Errorf("exit code %d, want %d", s.code, code)
	}
	if s.stdout != "" {
		t.Errorf("stdout: %s", s.stdout)
	}
	if !strings.HasPrefix(s.stderr, "nft-offload: ") || strings.Count(s.stderr, "\n") != 1 || !strings.HasSuffix(s.stderr, "\n") {
		t.Errorf("stderr is not one line: %q", s.stderr)
	}
	for _, w := range words {
		if !strings.Contains(s.stderr, w) {
			t.Errorf("stderr lacks %q: %s", w, s.stderr)
		}
	}
}
