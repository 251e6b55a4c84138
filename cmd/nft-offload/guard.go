package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// A load with --confirm is guarded by a process of its own session, which is started before anything is loaded and
// ends when the load is confirmed or rolled back. So neither a hangup nor kill -9 of the command that a person sees
// leaves the machine with a ruleset that locked that person out.
//
//	load                        guard
//	  lock, save, start ───────►  ready
//	  "loading" ───────────────►  rolls back from here on
//	  nft -f
//	  "loaded" ────────────────►  timer, what changed  ◄── "confirm" or "rollback" on a socket, from anybody
//	                       ◄────  until when
//	  "confirm", "rollback" ───►
//	                       ◄────  what became of it    ──► the same to everybody who asked
//
// When load ends before it has said how loading went, the guard starts its timer: rolling back what was never loaded
// changes nothing. When it ends before it began to, the guard just ends. When the guard ends before its time, load starts another one. When both are killed, the record stays,
// and the next command says so.

// What a guard is asked.
const (
	askLoading  = "loading"
	askLoaded   = "loaded"
	askCancel   = "cancel" // loading failed
	askConfirm  = "confirm"
	askRollback = "rollback"

	guardReady = "ready"
)

// Descriptors that a guard inherits.
const (
	guardLockFd = 3
	guardConnFd = 4
)

// settleLimit bounds how long a guard looks at what was changed before it starts its timer. It needs a few milliseconds a
// table.
const settleLimit = 5 * time.Second

// replyLimit bounds how long a guard that has ended its work waits for somebody to take the answer.
const replyLimit = 5 * time.Second

// guardName is the command that a guard is started by. Nobody else has a use for it.
const guardName = "load-guard"

// guardBegun is its flag for a guard in the place of another one.
const guardBegun = "begun"

func guardCommand(e *env) *cobra.Command {
	var limit time.Duration
	var begun bool
	c := &cobra.Command{
		Use:    guardName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return runGuard(e, limit, begun) },
	}
	c.Flags().BoolVar(&begun, guardBegun, false, "loading has begun")
	c.Flags().DurationVar(&limit, "for", 0, "roll back after this")
	return c
}

// guard is the state of the guarding process.
type guard struct {
	places places
	ns     uint64
	record *loadRecord
	limit  time.Duration
	begun  bool // nft may have changed something

	asked   chan string
	done    chan struct{} // closed when outcome is there
	outcome confirmation
	answers sync.WaitGroup
}

func runGuard(e *env, limit time.Duration, begun bool) error {
	signal.Ignore(unix.SIGHUP)
	spareFromOOM()
	ns, err := namespace()
	if err != nil {
		return err
	}
	hold := &instance{os.NewFile(guardLockFd, e.places.loadLock(ns))}
	if !same(hold.f, e.places.loadLock(ns)) {
		return usage("%s is what `load --confirm` starts; it is of no use by hand", guardName)
	}
	g := &guard{places: e.places, ns: ns, limit: limit, begun: begun, asked: make(chan string), done: make(chan struct{})}
	if g.record, err = e.places.readLoad(ns); err != nil {
		return err
	}
	if g.record == nil {
		return errors.New("guard a load: there is none")
	}
	parent, err := net.FileConn(os.NewFile(guardConnFd, "load"))
	if err != nil {
		return fmt.Errorf("guard a load: %w", err)
	}
	if err := writePID(hold.f); err != nil {
		return err
	}
	l, err := listenFor(e.places.loadSocket(ns))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(parent, guardReady); err != nil {
		return fmt.Errorf("guard a load: %w", errors.Join(err, l.Close()))
	}
	err = g.run(e.ctx, parent, l)
	if g.record.State == loadFailed {
		logFailure(fmt.Sprintf("the ruleset before %s did not come back: %s", g.record.File, g.record.Error))
	}
	err = errors.Join(err, l.Close(), hold.release())
	close(g.done)
	g.answers.Wait()
	e.places.tidy()
	return err
}

// listenFor listens on a socket that only root may connect to, in place of one that a killed process left.
func listenFor(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil // in a directory that is root's alone
}

// run waits for the end of the load and then for its confirmation. It leaves the outcome in g.
func (g *guard) run(ctx context.Context, parent net.Conn, l net.Listener) error {
	words := bufio.NewReader(parent)
	word := nextWord(words)
	if word == askLoading {
		g.begun = true
		word = nextWord(words)
	}
	if !g.begun {
		return g.places.forgetLoad(g.ns) // nothing was changed
	}
	if word == askCancel {
		return g.cancel(ctx)
	}
	if word == askLoaded && !g.record.Saved.Settled {
		g.settle(ctx)
	}
	timer := time.NewTimer(g.limit)
	defer timer.Stop()
	g.record.Until = time.Now().Add(g.limit)
	// Without it only the time is missing in what other commands say.
	_ = g.places.writeLoad(g.ns, g.record)
	_ = json.NewEncoder(parent).Encode(g.record.confirmation) // who asked may be gone
	g.answers.Go(func() { g.answer(parent, words) })
	go g.accept(l)
	select {
	case word := <-g.asked:
		if word == askConfirm {
			g.outcome = g.record.confirmation
			g.outcome.State, g.outcome.Ended = loadConfirmed, time.Now()
			return g.places.forgetLoad(g.ns)
		}
		err := g.rollBack("somebody asked for it")
		if err == nil {
			return g.places.forgetLoad(g.ns) // no news to anybody
		}
		return err
	case <-timer.C:
		return g.rollBack(fmt.Sprintf("nobody confirmed it within %s", g.limit.Round(time.Second/10)))
	case <-ctx.Done():
		return g.rollBack("the process that guarded it was told to end")
	}
}

// settle looks at what was changed. Without it all that differs in the end counts as changed by the load. So it is after
// the death of load: its nft may not have ended yet.
func (g *guard) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_ = g.record.Saved.Loaded(ctx)
}

// nextWord is what load says next; nothing when it has ended.
func nextWord(words *bufio.Reader) string {
	word, _ := words.ReadString('\n')
	return strings.TrimSpace(word)
}

// cancel ends a load that failed. What nft was killed at may have come about nevertheless.
func (g *guard) cancel(ctx context.Context) error {
	if err := g.record.rollBack(context.WithoutCancel(ctx), "loading failed"); err != nil {
		return errors.Join(err, g.places.writeLoad(g.ns, g.record))
	}
	return g.places.forgetLoad(g.ns)
}

func (g *guard) rollBack(why string) error {
	// What ends the guard must not end this.
	err := g.record.rollBack(context.Background(), why)
	g.outcome = g.record.confirmation
	return errors.Join(err, g.places.writeLoad(g.ns, g.record))
}

// accept takes questions until the listener is closed.
func (g *guard) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		g.answers.Go(func() { g.answer(c, bufio.NewReader(c)) })
	}
}

// answer passes on what one connection asks, and tells it the outcome.
func (g *guard) answer(c net.Conn, words *bufio.Reader) {
	defer c.Close() //nolint:errcheck // nobody is there to be told
	go func() {
		for {
			word, err := words.ReadString('\n')
			if err != nil {
				return // the end of who asks is no answer
			}
			if word = strings.TrimSpace(word); word == askConfirm || word == askRollback {
				select {
				case g.asked <- word:
				case <-g.done:
				}
			}
		}
	}()
	<-g.done
	_ = c.SetDeadline(time.Now().Add(replyLimit))
	_ = json.NewEncoder(c).Encode(g.outcome)
}

// Rolling back is tried again, since what is in the way may go away: somebody else's change in the same moment, memory.
const (
	rollBackTries = 3
	rollBackGap   = time.Second
)

// rollBack brings the saved ruleset back and records how that went. What was saved is kept until it is back whole.
func (r *loadRecord) rollBack(ctx context.Context, why string) error {
	var restored nft.Restored
	var err error
	for i := range rollBackTries {
		if i > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(rollBackGap):
			}
		}
		restored, err = nft.Restore(ctx, r.Saved)
		if err == nil && len(restored.Different) > 0 {
			err = fmt.Errorf("still different: %s", strings.Join(restored.Different, ", "))
		}
		if err == nil {
			break
		}
	}
	r.Ended, r.Why, r.Restored = time.Now(), why, &restored
	if err != nil {
		r.State, r.Error = loadFailed, oneLine(err)
		return err
	}
	r.State, r.Error, r.Saved = loadRolledBack, "", nft.Saved{}
	return nil
}
