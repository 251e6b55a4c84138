package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/nft"
)

// withdrawWait is how long a running daemon gets to stop. It needs a fraction of a second.
const withdrawWait = 15 * time.Second

// withdrawal is what withdraw did, and what it leaves.
type withdrawal struct {
	Stopped  int      `json:"stopped_pid,omitempty"` // the daemon that was told to stop
	Removed  bool     `json:"removed"`               // there was a datapath without a daemon
	Lowered  []string `json:"lowered"`               // flowtables that are still lowered: "inet filter f1"
	Restored string   `json:"restored,omitempty"`    // the file that was loaded
	Gone     []uint64 `json:"gone,omitempty"`        // inodes of namespaces that do not exist any more, of which something was removed
}

func withdrawCommand(e *env) *cobra.Command {
	var restore string
	var asJSON bool
	c := &cobra.Command{
		Use:   "withdraw",
		Short: "stop the daemon and remove everything it attached",
		Long: `withdraw stops a running daemon and removes programs, maps, filters and pins,
also those that a killed daemon left here, or in a network namespace that does
not exist any more. Where there is nothing it does nothing.

The ruleset stays as it is. One that was lowered still has the sets and rules
that stand for its flowtables; they do no harm. --restore loads the original
file in place of the tables that were lowered, as it is; on a kernel without
flowtables that has to be a file without "flow add". While a "load --confirm"
waits, that is refused with code 10, and nothing is withdrawn.`,
		Example: `  nft-offload withdraw
  nft-offload withdraw --restore /etc/nftables.conf`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := privileged(); err != nil {
				return err
			}
			w, err := e.withdraw(restore)
			if err != nil {
				return err
			}
			if asJSON {
				return e.printJSON(w)
			}
			e.printWithdrawal(w)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&restore, "restore", "", "then load this original ruleset `FILE`")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (e *env) withdraw(restore string) (w withdrawal, err error) {
	var src nft.Source
	if restore != "" {
		// Refused before anything is stopped.
		if src, err = nft.ReadSource(restore, e.stdin); err != nil {
			return w, err
		}
		l, busy := e.holdLoads()
		if busy != nil {
			return w, busy
		}
		defer func() { err = errors.Join(err, l.release()) }()
	}
	ns, err := namespace()
	if err != nil {
		return w, err
	}
	hold, err := e.takeOver(ns, &w)
	if err != nil {
		return w, err
	}
	defer func() {
		err = errors.Join(err, hold.release())
		e.places.tidy()
	}()
	if w.Removed, err = e.places.pinned(ns); err != nil {
		return w, err
	}
	if err := datapath.Withdraw(e.places.pins(ns)); err != nil {
		return w, err
	}
	if err := e.places.forgetRolledBack(ns, restore != ""); err != nil {
		return w, err
	}
	if err := os.Remove(e.places.socket(ns)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return w, fmt.Errorf("remove socket: %w", err)
	}
	if w.Gone, err = e.places.withdrawGone(); err != nil {
		return w, err
	}
	loads, err := e.places.forgetGone()
	if err != nil {
		return w, err
	}
	for _, ns := range loads {
		if !slices.Contains(w.Gone, ns) {
			w.Gone = append(w.Gone, ns)
		}
	}
	if restore != "" {
		if err := e.restore(src); err != nil {
			return w, fmt.Errorf("the datapath is withdrawn, but the ruleset was not restored: %w", err)
		}
		w.Restored = restore
	}
	w.Lowered, err = lowered(e.ctx)
	return w, err
}

// takeOver gets the lock of the namespace; a daemon that holds it is told to stop.
func (e *env) takeOver(ns uint64, w *withdrawal) (*instance, error) {
	path := e.places.lock(ns)
	hold, err := acquire(path)
	var running *runningError
	if !errors.As(err, &running) {
		return hold, err
	}
	if running.pid <= 0 || running.pid == os.Getpid() {
		return nil, fmt.Errorf("stop the daemon: %s does not say its pid", path)
	}
	// The handle (a pidfd) is taken first and the lock looked at again: a pid that was reused meanwhile is not hit.
	p, err := os.FindProcess(running.pid)
	if err != nil {
		return nil, fmt.Errorf("stop the daemon: %w", err)
	}
	defer func() { _ = p.Release() }()
	hold, err = acquire(path)
	if !errors.As(err, &running) {
		return hold, err
	}
	if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("stop the daemon (pid %d): %w", running.pid, err)
	}
	w.Stopped = running.pid
	hold, err = await(e.ctx, path, withdrawWait)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, withCode(exitRunning, fmt.Errorf("the daemon (pid %d) did not stop within %s; kill it and withdraw again", running.pid, withdrawWait))
	}
	return hold, err
}

// restore loads a ruleset as it is, in place of the tables that were lowered, in one transaction.
func (e *env) restore(src nft.Source) error {
	flowtables, err := lowered(e.ctx)
	if err != nil {
		return err
	}
	var tables []string
	for _, f := range flowtables {
		family, rest, _ := strings.Cut(f, " ")
		table, _, _ := strings.Cut(rest, " ")
		tables = append(tables, family+" "+table)
	}
	return nft.Replace(e.ctx, src, tables)
}

// lowered names the flowtables of the live ruleset that are lowered.
func lowered(ctx context.Context) ([]string, error) {
	out := []string{}
	r, err := nft.List(ctx)
	if errors.Is(err, nft.ErrNotInstalled) {
		return out, nil // then nothing was loaded by us either
	}
	if err != nil {
		return out, err
	}
	for _, f := range r.Flowtables {
		if f.Lowered {
			out = append(out, fmt.Sprintf("%s %s %s", f.Family, f.Table, f.Name))
		}
	}
	return out, nil
}

func (e *env) printWithdrawal(w withdrawal) {
	switch {
	case w.Stopped != 0:
		fmt.Fprintf(e.stdout, "stopped the daemon (pid %d); nothing of the datapath is left\n", w.Stopped)
	case w.Removed:
		fmt.Fprintln(e.stdout, "removed the datapath; nothing of it is left")
	default:
		fmt.Fprintln(e.stdout, "nothing to withdraw")
	}
	for _, ns := range w.Gone {
		fmt.Fprintf(e.stdout, "removed what was left of network namespace %d, which is gone\n", ns)
	}
	if w.Restored != "" {
		fmt.Fprintf(e.stdout, "loaded %s\n", w.Restored)
	}
	for _, f := range w.Lowered {
		wrap(e.stdout, "", fmt.Sprintf("the ruleset still has the lowered flowtable %s (a set of that name and rules with conntrack labels), which does no harm; load the original with --restore FILE", f), e.width())
	}
}
