package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/engine"
)

// daemon is a running `nft-offload run` in the router.
type daemon struct {
	cmd    *exec.Cmd
	client *api.Client
	output *bytes.Buffer
	exited chan struct{}
	err    error // after exited
}

// Limits of waiting for the daemon.
const (
	daemonStart = 10 * time.Second
	daemonStop  = 10 * time.Second
	daemonPoll  = 20 * time.Millisecond
)

// startDaemon starts it in the namespace and waits until it has attached to its devices.
func startDaemon(ctx context.Context, ns *namespace, cmd *exec.Cmd, socket string) (*daemon, error) {
	d := &daemon{cmd: cmd, client: api.NewClient(socket), output: &bytes.Buffer{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = d.output, d.output
	// Ctrl-C is for us, and ends the daemon in order; a demo that is killed takes its daemon with it.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// The daemon dies with the thread that started it, so this one stays. It is a fresh one, not pinned.
		runtime.LockOSThread()
		defer close(d.exited)
		err := netns.Set(ns.handle)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			d.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	for {
		if _, err := d.client.Status(ctx); err == nil {
			return d, nil
		}
		select {
		case <-d.exited:
			if d.interrupted() { // by the Ctrl-C that is for us, in the moment before it had a process group of its own
				return nil, fmt.Errorf("start daemon: %w", context.Canceled)
			}
			return nil, fmt.Errorf("start daemon: %w: %s", d.err, d.said())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for daemon: %w", ctx.Err()), d.stop())
		case <-time.After(daemonPoll):
		}
	}
}

// stop ends it as a user would, and waits.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop daemon: %w", err)
	}
	select {
	case <-d.exited:
	case <-time.After(daemonStop):
		_ = d.cmd.Process.Kill()
		<-d.exited
		return fmt.Errorf("stop daemon: still there after %s: %s", daemonStop, d.said())
	}
	if d.err != nil && !d.interrupted() {
		return fmt.Errorf("stop daemon: %w: %s", d.err, d.said())
	}
	return nil
}

// interrupted reports whether the signal ended the process before it took signals itself, which is before it touched
// anything. Only after it has exited.
func (d *daemon) interrupted() bool {
	status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == unix.SIGINT
}

// said is the end of what it wrote; only after it has exited.
func (d *daemon) said() string {
	select {
	case <-d.exited:
	default:
		return ""
	}
	lines := strings.Split(strings.TrimSpace(d.output.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// counters asks for what a hook carried.
func (d *daemon) counters(ctx context.Context, hook string) (totals, error) {
	s, err := d.client.Status(ctx)
	if err != nil {
		return totals{}, fmt.Errorf("ask daemon: %w", err)
	}
	t := totals{fast: s.Stats.Fast[engine.Hook(hook)].Packets, slow: s.Stats.Slow.Packets, reasons: map[string]uint64{}}
	for _, c := range s.Stats.Reasons {
		t.reasons[c.Code] = c.Packets
	}
	return t, nil
}

// inode is what a namespace is called by in the names of files.
func (n *namespace) inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(n.handle), &st); err != nil {
		return 0, fmt.Errorf("look at namespace %s: %w", n.label, err)
	}
	return st.Ino, nil
}
