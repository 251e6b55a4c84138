package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func confirmCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "keep the ruleset of a `load --confirm`",
		Long: `confirm keeps the ruleset that "load --confirm" has loaded and that waits for
it. When it is too late, or somebody has rolled the load back, it says so and
exits with code 9; when there is nothing to confirm, with code 11. After a load
that could not be rolled back whole, it gives the previous ruleset up.

Run it from a new session: that one can be opened proves that the new ruleset
does not lock you out.`,
		Example: `  nft-offload confirm
  ssh router nft-offload confirm --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := privileged(); err != nil {
				return err
			}
			r, err := e.decide(askConfirm)
			if err != nil {
				return err
			}
			if err := e.printDecision(r, asJSON); err != nil {
				return err
			}
			return notConfirmed(r)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func rollbackCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rollback",
		Short: "go back to the ruleset before a `load --confirm`, now",
		Long: `rollback brings back the ruleset before a "load --confirm" that waits to be
confirmed, without waiting for the end of its time. Tables that the load did not
change are not touched. When nothing waits it exits with code 11.

It also finishes what a killed process left: when nobody is there to roll back,
this command does it. And it tries again what has failed.`,
		Example: `  nft-offload rollback`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := privileged(); err != nil {
				return err
			}
			r, err := e.decide(askRollback)
			if err != nil {
				return err
			}
			if err := e.printDecision(r, asJSON); err != nil {
				return err
			}
			switch r.State {
			case loadRolledBack:
				return nil
			case loadConfirmed:
				return withCode(exitNothingPending, fmt.Errorf("too late: the load of %s was just confirmed", r.File))
			case loadWaiting, loadFailed:
			}
			return fmt.Errorf("roll back the load of %s: %s; try again", r.File, r.Error)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// decide tells the guard of a waiting load what to do and returns what became of the load. Where the guard is gone, it
// does itself what is to be done; where there is none yet, or another one takes its place, it waits for that one.
func (e *env) decide(word string) (confirmation, error) {
	ns, err := namespace()
	if err != nil {
		return confirmation{}, err
	}
	var c confirmation
	err = e.whileBusy(func() (err error) {
		c, err = e.decideNow(ns, word)
		return err
	})
	return c, err
}

// decideNow tries once: errBusy says that whoever has the load in hand does not answer yet.
func (e *env) decideNow(ns uint64, word string) (c confirmation, err error) {
	nothing := withCode(exitNothingPending, errors.New("no load waits to be confirmed"))
	r, err := e.places.readLoad(ns)
	if err != nil {
		return c, err
	}
	if r == nil || r.State == loadRolledBack && word == askRollback {
		return c, nothing
	}
	if r.State != loadRolledBack {
		c, err := askGuard(e.ctx, e.places.loadSocket(ns), word)
		if !errors.Is(err, errNoGuard) {
			return c, err
		}
	}
	hold, err := acquire(e.places.loadLock(ns))
	if _, ok := errors.AsType[*runningError](err); ok {
		return c, errBusy
	}
	if err != nil {
		return c, err
	}
	defer func() {
		err = errors.Join(err, hold.release())
		e.places.tidy()
	}()
	// From here on nobody changes it.
	if r, err = e.places.readLoad(ns); err != nil {
		return c, err
	}
	switch {
	case r == nil || r.State == loadRolledBack && word == askRollback:
		return c, nothing
	case r.State == loadRolledBack:
		return r.confirmation, e.places.forgetLoad(ns)
	}
	c, err = e.decideAlone(ns, r, word)
	return c, errors.Join(err, os.RemoveAll(e.places.loadSocket(ns)))
}

// decideAlone is for a load that nobody guards; the caller has the lock.
func (e *env) decideAlone(ns uint64, r *loadRecord, word string) (confirmation, error) {
	if word == askConfirm {
		r.State, r.Ended = loadConfirmed, time.Now()
		return r.confirmation, e.places.forgetLoad(ns)
	}
	// The outcome says when this failed.
	_ = r.rollBack(context.WithoutCancel(e.ctx), "somebody asked for it")
	if r.State == loadRolledBack {
		return r.confirmation, e.places.forgetLoad(ns)
	}
	return r.confirmation, e.places.writeLoad(ns, r)
}

// errNoGuard says that nobody answers for a load.
var errNoGuard = errors.New("nobody guards the load")

// askGuard says a word to a guard and waits for the outcome.
func askGuard(ctx context.Context, socket, word string) (confirmation, error) {
	var c confirmation
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return c, errNoGuard
	}
	if err != nil {
		return c, fmt.Errorf("ask who guards the load: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all was said
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintln(conn, word); err != nil {
		return c, errNoGuard // it ended in this moment
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if ctx.Err() != nil {
		return c, fmt.Errorf("ask who guards the load: %w", ctx.Err())
	}
	if err != nil {
		return c, errNoGuard
	}
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		return c, fmt.Errorf("read what became of the load: %w", err)
	}
	return c, nil
}

// notConfirmed is the error for a load that was not kept; nil for one that was.
func notConfirmed(c confirmation) error {
	switch c.State {
	case loadConfirmed:
		return nil
	case loadWaiting, loadRolledBack:
	case loadFailed:
		return fmt.Errorf("roll back the load of %s (%s): %s; `nft-offload rollback` tries again", c.File, c.Why, c.Error)
	}
	return withCode(exitNotConfirmed, fmt.Errorf("%s was rolled back: %s", c.File, c.Why))
}

// printDecision says what became of a load.
func (e *env) printDecision(c confirmation, asJSON bool) error {
	if asJSON {
		return e.printJSON(c)
	}
	switch c.State {
	case loadConfirmed:
		fmt.Fprintf(e.stdout, "confirmed: the ruleset of %s stays\n", c.File)
	case loadRolledBack:
		wrap(e.stdout, "", "the ruleset before "+c.File+" is back: "+tablesTouched(c), e.width())
	case loadWaiting, loadFailed:
	}
	return nil
}

// tablesTouched lists what rolling back did.
func tablesTouched(c confirmation) string {
	if c.Restored == nil || len(c.Restored.Replaced)+len(c.Restored.Removed) == 0 {
		return "nothing had changed"
	}
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{
		{"put back", c.Restored.Replaced},
		{"removed", c.Restored.Removed},
		{"left out, because they do not exist any more: devices", c.Restored.LeftOut},
		{"still different:", c.Restored.Different},
	} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+" "+strings.Join(p.names, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
