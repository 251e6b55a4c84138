package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// guardStart is how long a guard gets until it is ready. It needs a fraction of a second.
const guardStart = 15 * time.Second

// guardedLoad is a load with --confirm as the command sees it that a person started.
type guardedLoad struct {
	e     *env
	ns    uint64
	hold  *instance
	file  string
	limit time.Duration
	guard *guardConn
}

// guardConn is a running guard.
type guardConn struct {
	conn  net.Conn
	words *bufio.Reader
	ended chan struct{} // closed when the process is gone
}

// beginGuarded saves the ruleset and starts the guard. Nothing is loaded yet.
func (e *env) beginGuarded(src nft.Source, limit time.Duration) (*guardedLoad, error) {
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	hold, err := acquire(e.places.loadLock(ns))
	if _, ok := errors.AsType[*runningError](err); ok {
		r, rerr := e.places.readLoad(ns)
		if r == nil || rerr != nil {
			r = &loadRecord{confirmation: confirmation{File: "another ruleset", State: loadWaiting}}
		}
		return nil, pendingError(r, true)
	}
	if err != nil {
		return nil, err
	}
	l := &guardedLoad{e: e, ns: ns, hold: hold, file: src.Name, limit: limit}
	if err := l.begin(src); err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

func (l *guardedLoad) begin(src nft.Source) error {
	if r, err := l.e.places.readLoad(l.ns); err != nil || r != nil && r.State == loadWaiting {
		return errors.Join(err, pendingError(r, false)) // we have the lock: nobody else guards it
	}
	saved, err := nft.Save(l.e.ctx)
	if err != nil {
		return err
	}
	if err := saved.Keeps(src); err != nil {
		return fmt.Errorf("%w; without --confirm the file can be loaded, but not rolled back", err)
	}
	r := &loadRecord{confirmation: confirmation{File: l.file, State: loadWaiting}, Saved: saved}
	if r.Namespace, err = namespaceCookie(); err != nil {
		return err
	}
	if err := l.e.places.writeLoad(l.ns, r); err != nil {
		return err
	}
	if l.guard, err = startGuard(l.hold, l.limit); err != nil {
		return errors.Join(err, l.e.places.forgetLoad(l.ns))
	}
	return nil
}

// cancel says that nothing was loaded, and waits for the guard to end.
func (l *guardedLoad) cancel() {
	_, _ = fmt.Fprintln(l.guard.conn, askCancel)
	<-l.guard.ended
	_ = l.guard.conn.Close()
}

// loaded starts the guard's timer, and returns until when it runs. A guard that is gone is noticed by await.
func (l *guardedLoad) loaded() confirmation {
	c := confirmation{File: l.file, State: loadWaiting, Until: time.Now().Add(l.limit)}
	if _, err := fmt.Fprintln(l.guard.conn, askLoaded); err != nil {
		return c
	}
	_ = l.guard.conn.SetReadDeadline(time.Now().Add(guardStart))
	if line, err := l.guard.words.ReadString('\n'); err == nil {
		_ = json.Unmarshal([]byte(line), &c)
	}
	_ = l.guard.conn.SetReadDeadline(time.Time{})
	return c
}

// end gives the lock back where no guard has it.
func (l *guardedLoad) end() error {
	err := l.hold.release()
	l.e.places.tidy()
	return err
}

// leave lets the guard go on alone.
func (l *guardedLoad) leave() { _ = l.guard.conn.Close() }

// await waits until the load is confirmed or rolled back. Something comes out of enter when the user confirms here.
func (l *guardedLoad) await(enter <-chan struct{}) (confirmation, error) {
	until := time.Now().Add(l.limit) // not the wall clock's
	interrupted := l.e.ctx.Done()
	for {
		outcome := l.guard.outcome()
		for waiting := true; waiting; {
			word := ""
			select {
			case c, ok := <-outcome:
				if ok {
					return c, nil
				}
				waiting = false
			case <-enter:
				word, enter = askConfirm, nil
			case <-interrupted:
				word, interrupted = askRollback, nil
			}
			if word != "" {
				_, _ = fmt.Fprintln(l.guard.conn, word)
			}
		}
		// The guard is gone: somebody killed it, maybe when it had done its work.
		_ = l.guard.conn.Close()
		r, err := l.e.places.readLoad(l.ns)
		switch {
		case err != nil:
			return confirmation{}, err
		case r == nil: // only who confirms removes it
			return confirmation{File: l.file, State: loadConfirmed}, nil
		case r.State != loadWaiting:
			return r.confirmation, nil
		}
		g, err := startGuard(l.hold, max(0, time.Until(until)))
		if err != nil {
			return l.alone(r, err)
		}
		l.guard = g
		l.loaded() // as of now: what is left of the time was said when it was started
	}
}

// alone rolls back at once, because no guard can be started.
func (l *guardedLoad) alone(r *loadRecord, cause error) (confirmation, error) {
	err := r.rollBack(context.WithoutCancel(l.e.ctx), fmt.Sprintf("its guard was killed, and no other one starts: %v", cause))
	return r.confirmation, errors.Join(err, l.e.places.writeLoad(l.ns, r), l.end())
}

// outcome is what the guard says in the end. The channel closes without it when the guard is gone.
func (g *guardConn) outcome() <-chan confirmation {
	out := make(chan confirmation, 1)
	go func() {
		defer close(out)
		line, err := g.words.ReadString('\n')
		var c confirmation
		if err == nil && json.Unmarshal([]byte(line), &c) == nil {
			out <- c
		}
	}()
	return out
}

// startGuard starts this program as the guard, in a session of its own, and waits until it is ready.
func startGuard(hold *instance, limit time.Duration) (*guardConn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "guard"), os.NewFile(uintptr(pair[1]), "load")
	defer ours.Close()   //nolint:errcheck // net.FileConn has its own
	defer theirs.Close() //nolint:errcheck // the guard has its own
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", guardName, "--for", limit.String())
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{hold.f, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", errors.Join(err, conn.Close()))
	}
	_ = theirs.Close() // so that its end is seen
	g := &guardConn{conn: conn, words: bufio.NewReader(conn), ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(g.ended)
	}()
	_ = conn.SetReadDeadline(time.Now().Add(guardStart))
	word, err := g.words.ReadString('\n')
	if err != nil || strings.TrimSpace(word) != guardReady {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("start the guard: it did not get ready: %w", errors.Join(err, conn.Close()))
	}
	return g, conn.SetReadDeadline(time.Time{})
}

// enterKey sends when the user presses the enter key on a terminal. The end of the input, which is what a lost session
// looks like, is no confirmation.
func (e *env) enterKey() <-chan struct{} {
	f, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	pressed := make(chan struct{}, 1)
	go func() {
		if _, err := bufio.NewReader(f).ReadString('\n'); err == nil {
			pressed <- struct{}{}
		}
	}()
	return pressed
}
