package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a named network namespace made for one test and removed at its end.
// The name is visible to `ip netns`, so a person can look inside while a test is stopped in a debugger.
type NS struct {
	Name   string
	handle netns.NsHandle
	t      testing.TB
}

// nsSeq keeps namespace names of one test process apart.
type nsSeq struct{ n atomic.Uint32 }

func (s *nsSeq) next() uint32 { return s.n.Add(1) }

var seq nsSeq //nolint:gochecknoglobals // a process-wide counter for unique names

// NewNS makes a network namespace with loopback up. The label is part of its name.
func NewNS(t testing.TB, label string) *NS {
	t.Helper()
	Need(t, Netns)
	name := fmt.Sprintf("nfo-%d-%d-%s", os.Getpid(), seq.next(), label)
	ns := &NS{Name: name, t: t}
	t.Cleanup(func() {
		if ns.handle.IsOpen() {
			_ = ns.handle.Close()
		}
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Errorf("delete namespace %s: %v", name, err)
		}
	})
	onThread(t, func() error {
		h, err := netns.NewNamed(name) // also enters it
		if err != nil {
			return err
		}
		ns.handle = h
		return run("ip", "link", "set", "lo", "up")
	})
	return ns
}

// onThread runs f on an OS thread of its own, which dies afterwards, so that a changed namespace never leaks.
func onThread(t testing.TB, f func() error) {
	t.Helper()
	if err := thread(f); err != nil {
		t.Fatal(err)
	}
}

func thread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked on purpose: the runtime ends a thread whose goroutine exits while locked.
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in it; goroutines that f starts do not.
func (n *NS) Do(f func() error) error {
	return thread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Remove takes the name away and gives up the test's own hold: when no process is left inside, the kernel removes the
// namespace and the devices in it. Nothing else of n may be used afterwards.
func (n *NS) Remove() error {
	err := errors.Join(n.handle.Close(), netns.DeleteNamed(n.Name)) // Close makes the handle one that is not open
	if err != nil {
		return fmt.Errorf("remove namespace %s: %w", n.Name, err)
	}
	return nil
}

// Fd returns the namespace's file descriptor, valid until the test ends.
func (n *NS) Fd() int { return int(n.handle) }

// Path returns the file that names the namespace.
func (n *NS) Path() string { return filepath.Join("/run/netns", n.Name) }

// Run runs a command inside the namespace, in the mount namespace of the test (so bpffs pins are visible),
// and returns its standard output. It fails the test when the command fails.
func (n *NS) Run(name string, args ...string) string {
	n.t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// Try is Run without failing the test. The error carries the command's standard error.
func (n *NS) Try(name string, args ...string) (string, error) {
	return n.Pipe("", name, args...)
}

// Pipe is Try with standard input.
func (n *NS) Pipe(stdin, name string, args ...string) (string, error) {
	var out, errb bytes.Buffer
	err := n.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errb
		return cmd.Run()
	})
	if err != nil {
		return out.String(), fmt.Errorf("in %s: %s %s: %w: %s", n.Name, name, strings.Join(args, " "), err, strings.TrimSpace(errb.String()))
	}
	return out.String(), nil
}

// Start starts a command inside the namespace and returns it running; the caller waits for it.
func (n *NS) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Script runs each line as a command inside the namespace; empty lines and # comments are left out.
func (n *NS) Script(lines string) {
	n.t.Helper()
	for line := range strings.SplitSeq(lines, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		n.Run(f[0], f[1:]...)
	}
}

// NFTables loads a ruleset given in nft syntax.
func (n *NS) NFTables(ruleset string) {
	n.t.Helper()
	Need(n.t, NFT)
	if out, err := n.Pipe(ruleset, "nft", "-f", "-"); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
}

// Sysctl sets a sysctl of this namespace, named as under /proc/sys with slashes ("net/ipv4/ip_forward").
func (n *NS) Sysctl(name, value string) {
	n.t.Helper()
	err := n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	})
	if err != nil {
		n.t.Fatalf("set %s in %s: %v", name, n.Name, err)
	}
}

// Veth joins two namespaces with a veth pair; both ends come up. Each end is "ns:device".
func Veth(t testing.TB, a *NS, adev string, b *NS, bdev string) {
	t.Helper()
	a.Run("ip", "link", "add", adev, "type", "veth", "peer", "name", bdev, "netns", b.Name)
	a.Run("ip", "link", "set", adev, "up")
	b.Run("ip", "link", "set", bdev, "up")
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
