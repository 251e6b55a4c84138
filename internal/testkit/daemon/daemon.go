// Package daemon runs the nft-offload program for tests: built once per test process from this tree, started inside a
// network namespace, waited for by its socket, stopped or killed.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// BinaryEnv names a program to use in place of one built from this tree, for machines without a Go toolchain (VMs).
const BinaryEnv = "NFT_OFFLOAD_BIN"

// Limits of what a daemon may take. An emulated machine needs ten seconds and more to verify the
// programs, and much more when it does not have the host to itself.
const (
	startLimit = 2 * time.Minute
	stopLimit  = time.Minute
	callLimit  = 30 * time.Second
)

// Daemon is one running `nft-offload run`.
type Daemon struct {
	ns     *testkit.NS
	t      testing.TB
	cmd    *exec.Cmd
	client *api.Client
	inode  uint64
	output *lockedBuffer
	ended  chan struct{} // closed when the process is gone
	err    error         // how it ended; valid after ended
}

// Binary returns the path of the program, built with the first call.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

//nolint:gochecknoglobals // built once a process
var binary = sync.OnceValues(build)

func build() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		return path, nil
	}
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	// One path for all test processes of a tree: the program of the last build replaces that of the one before, and
	// those that run it keep theirs.
	tree := fnv.New32a()
	_, _ = tree.Write(mod) // a hash does not fail
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("nft-offload-test-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("nft-offload-%d", os.Getpid()))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/nft-offload")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nft-offload: %w: %s", err, out)
	}
	final := filepath.Join(dir, fmt.Sprintf("nft-offload-%08x", tree.Sum32()))
	return final, os.Rename(path, final)
}

// Start runs the daemon inside the namespace and returns when its socket answers, that is, when the devices are
// attached. It is stopped at the end of the test, and what it pinned is withdrawn.
func Start(t testing.TB, ns *testkit.NS, args ...string) *Daemon {
	t.Helper()
	d, err := Try(t, ns, args...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Try is Start that returns the failure; the error has the exit code (ExitCode) and what the daemon said.
func Try(t testing.TB, ns *testkit.NS, args ...string) (*Daemon, error) {
	t.Helper()
	d, err := Launch(t, ns, nil, args...)
	if err != nil {
		return nil, err
	}
	return d, d.AwaitReady()
}

// Launch is Try that does not wait for the socket. A prepare that is not nil runs on the thread that starts the process,
// inside the network namespace: other namespaces that it enters are the daemon's, too.
func Launch(t testing.TB, ns *testkit.NS, prepare func() error, args ...string) (*Daemon, error) {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	inode, err := namespaceInode(ns)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		ns: ns, t: t, inode: inode, output: &lockedBuffer{}, ended: make(chan struct{}),
		client: api.NewClient(fmt.Sprintf("/run/nft-offload/%d.sock", inode)),
		cmd:    exec.Command(Binary(t), append([]string{"run"}, args...)...),
	}
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	err = ns.Do(func() error {
		if prepare != nil {
			if err := prepare(); err != nil {
				return err
			}
		}
		return d.cmd.Start()
	})
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	t.Cleanup(d.cleanup)
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	return d, nil
}

// askEvery is how often a daemon that starts is asked whether it is there: nothing announces its socket.
const askEvery = 10 * time.Millisecond

// AwaitReady returns when the socket answers, or with the reason why it never will.
func (d *Daemon) AwaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		s, err := d.client.Status(ctx)
		if err == nil && s.PID == d.PID() {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("daemon ended: %w: %s", d.err, d.output.String())
		case <-ctx.Done():
			return fmt.Errorf("daemon is not ready after %s (%w): %s", startLimit, err, d.output.String())
		case <-tick.C:
		}
	}
}

// cleanup runs at the end of the test, whatever happened before.
func (d *Daemon) cleanup() {
	if d.Running() {
		if err := d.Stop(); err != nil {
			d.t.Error(err)
		}
	}
	if _, err := os.Stat(d.Pins()); err == nil {
		if out, err := Command(d.t, d.ns, "withdraw"); err != nil {
			d.t.Errorf("withdraw: %v: %s", err, out)
		}
	}
	if d.t.Failed() {
		d.t.Logf("daemon said:\n%s", d.output.String())
	}
}

// Command runs another command of the program inside the namespace and returns what it printed on either stream.
func Command(t testing.TB, ns *testkit.NS, args ...string) (string, error) {
	t.Helper()
	var out lockedBuffer
	cmd := exec.Command(Binary(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := ns.Do(cmd.Run)
	return out.String(), err
}

// ExitCode returns the exit code in an error of Command or Try; 0 for none, -1 when there is no code in it.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// Running reports whether the process lives.
func (d *Daemon) Running() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// PID returns the process id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Pins returns the bpffs directory of the namespace's datapath.
func (d *Daemon) Pins() string { return fmt.Sprintf("/sys/fs/bpf/nft-offload/%d", d.inode) }

// State returns the path of the namespace's files under /run, without their endings.
func (d *Daemon) State() string { return fmt.Sprintf("/run/nft-offload/%d", d.inode) }

// Output returns what the daemon has said so far.
func (d *Daemon) Output() string { return d.output.String() }

// Kill9 kills the daemon; the datapath stays as it is. It returns when the process is gone.
func (d *Daemon) Kill9() {
	d.t.Helper()
	if err := d.signal(unix.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
}

// Stop sends SIGTERM and waits until the daemon has withdrawn. The error says when it ended otherwise than well.
func (d *Daemon) Stop() error {
	if err := d.signal(unix.SIGTERM); err != nil {
		return err
	}
	if d.err != nil {
		return fmt.Errorf("daemon ended: %w: %s", d.err, d.output.String())
	}
	return nil
}

// Wait waits until the daemon ended by itself, and returns how.
func (d *Daemon) Wait(limit time.Duration) error {
	select {
	case <-d.ended:
		return d.err
	case <-time.After(limit):
		return fmt.Errorf("daemon (pid %d) still runs after %s: %s", d.PID(), limit, d.output.String())
	}
}

func (d *Daemon) signal(s syscall.Signal) error {
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal daemon: %w", err)
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(stopLimit):
		_ = d.cmd.Process.Kill()
		return fmt.Errorf("daemon (pid %d) did not end within %s of signal %d: %s", d.PID(), stopLimit, s, d.output.String())
	}
}

// Status asks the daemon.
func (d *Daemon) Status() engine.Status {
	d.t.Helper()
	s, err := d.TryStatus()
	if err != nil {
		d.t.Fatalf("status: %v; daemon said: %s", err, d.output.String())
	}
	return s
}

// TryStatus asks a daemon that may be gone.
func (d *Daemon) TryStatus() (engine.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return d.client.Status(ctx)
}

// Flows asks the daemon for all flows.
func (d *Daemon) Flows() []engine.Flow {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	f, err := d.client.Flows(ctx, "", "", "", "")
	if err != nil {
		d.t.Fatalf("flows: %v; daemon said: %s", err, d.output.String())
	}
	return f
}

// Reason returns how many packets a reason counted.
func Reason(s engine.Status, code string) uint64 {
	for _, c := range s.Stats.Reasons {
		if c.Code == code {
			return c.Packets
		}
	}
	return 0
}

func namespaceInode(ns *testkit.NS) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		return 0, fmt.Errorf("look at namespace %s: %w", ns.Name, err)
	}
	return st.Ino, nil
}

// lockedBuffer is written by the daemon while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
