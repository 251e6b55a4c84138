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
	loads *loads
	file  string
	limit time.Duration
	guard *guardConn
}

// guardConn is a running guard.
type guardConn struct {
	conn  net.Conn
	words *bufio.Reader
	kill  func() error
	ended chan struct{} // closed when the process is gone
}

// beginGuarded saves the ruleset and starts the guard. Nothing is loaded yet.
func (e *env) beginGuarded(src nft.Source, limit time.Duration) (*guardedLoad, error) {
	hold, err := e.holdLoads()
	if err != nil {
		return nil, err
	}
	l := &guardedLoad{e: e, loads: hold, file: src.Name, limit: limit}
	if err := l.begin(src); err != nil {
		return nil, errors.Join(err, hold.release())
	}
	return l, nil
}

func (l *guardedLoad) begin(src nft.Source) error {
	saved, err := nft.Save(l.e.ctx)
	if err != nil {
		return err
	}
	if err := saved.For(src); err != nil {
		return fmt.Errorf("%w; without --confirm the file can be loaded, but not rolled back", err)
	}
	r := &loadRecord{confirmation: confirmation{File: l.file, State: loadWaiting}, Saved: saved}
	if err := r.here(); err != nil {
		return err
	}
	if err := l.e.places.writeLoad(l.loads.ns, r); err != nil {
		return err
	}
	if l.guard, err = startGuard(l.loads.hold, l.limit); err != nil {
		return errors.Join(err, l.e.places.forgetLoad(l.loads.ns))
	}
	return nil
}

// loading says that nft is about to change the ruleset. Where the guard is gone nothing is loaded.
func (l *guardedLoad) loading() error {
	if _, err := fmt.Fprintln(l.guard.conn, askLoading); err != nil {
		return fmt.Errorf("the process that guards the load was killed: %w", err)
	}
	return nil
}

// cancel says that nothing was loaded, and waits for the guard to end. When that was killed, what nft may have done
// nevertheless is rolled back here.
func (l *guardedLoad) cancel() error {
	_, _ = fmt.Fprintln(l.guard.conn, askCancel)
	<-l.guard.ended
	_ = l.guard.conn.Close()
	if !l.loads.mine() {
		return nil
	}
	r, err := l.e.places.readLoad(l.loads.ns)
	if r != nil && err == nil {
		if err = r.rollBack(context.WithoutCancel(l.e.ctx), "loading failed"); err == nil {
			err = l.e.places.forgetLoad(l.loads.ns)
		} else {
			err = errors.Join(err, l.e.places.writeLoad(l.loads.ns, r))
		}
	}
	return errors.Join(err, l.end())
}

// loaded starts the guard's timer, and returns until when it runs, and whether the guard said so. One that is gone is
// noticed by await.
func (l *guardedLoad) loaded() (c confirmation, guarded bool) {
	c = confirmation{File: l.file, State: loadWaiting, Until: time.Now().Add(l.limit)}
	if _, err := fmt.Fprintln(l.guard.conn, askLoaded); err != nil {
		return c, false
	}
	_ = l.guard.conn.SetReadDeadline(time.Now().Add(guardStart))
	defer l.guard.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // the next read says it, too
	line, err := l.guard.words.ReadString('\n')
	return c, err == nil && json.Unmarshal([]byte(line), &c) == nil
}

// leave lets the guard go on alone.
func (l *guardedLoad) leave() { _ = l.guard.conn.Close() }

// await waits until the load is confirmed or rolled back. Something comes out of enter when the user confirms here.
func (l *guardedLoad) await(enter <-chan struct{}) (confirmation, error) {
	until := time.Now().Add(l.limit) // not the wall clock's
	interrupted := l.e.ctx.Done()
	said := "" // by the user, and again to every guard: the last one may not have heard it
	for {
		outcome := l.guard.outcome()
		for waiting := true; waiting; {
			select {
			case c, ok := <-outcome:
				if ok {
					return c, nil
				}
				waiting = false
				continue
			case <-enter:
				said, enter = askConfirm, nil
			case <-interrupted:
				said, interrupted = askRollback, nil
			}
			_, _ = fmt.Fprintln(l.guard.conn, said)
		}
		// The guard is gone: somebody killed it, maybe when it had done its work.
		_ = l.guard.conn.Close()
		r, err := l.left()
		if err != nil || r.State != loadWaiting {
			return r.confirmation, errors.Join(err, l.end())
		}
		g, err := startGuard(l.loads.hold, max(0, time.Until(until)), "--"+guardBegun)
		if err != nil {
			return l.alone(r, fmt.Sprintf("its guard was killed, and no other one starts: %v", err))
		}
		l.guard = g
		l.loaded() // as of now: what is left of the time was said when it was started
		if said != "" {
			_, _ = fmt.Fprintln(l.guard.conn, said)
		}
	}
}

// left is the record that a killed guard left.
func (l *guardedLoad) left() (*loadRecord, error) {
	if l.loads.mine() {
		if r, err := l.e.places.readLoad(l.loads.ns); r != nil || err != nil {
			return r, err
		}
	}
	return &loadRecord{}, errors.New("the process that guarded the load was killed before it could say what became of it; see `nft list ruleset`")
}

// unguarded ends a load whose guard did not answer: nobody else would roll it back.
func (l *guardedLoad) unguarded() (confirmation, error) {
	_ = l.guard.kill()
	<-l.guard.ended
	_ = l.guard.conn.Close()
	r, err := l.left()
	if err != nil || r.State != loadWaiting {
		return r.confirmation, errors.Join(err, l.end())
	}
	return l.alone(r, "the process that guards it was killed")
}

// alone rolls back at once, because there is no guard.
func (l *guardedLoad) alone(r *loadRecord, why string) (confirmation, error) {
	// The outcome says when this failed.
	_ = r.rollBack(context.WithoutCancel(l.e.ctx), why)
	return r.confirmation, errors.Join(l.e.places.writeLoad(l.loads.ns, r), l.end())
}

// end gives the hold back where no guard has done so.
func (l *guardedLoad) end() error {
	if !l.loads.mine() {
		return nil
	}
	return errors.Join(os.RemoveAll(l.e.places.loadSocket(l.loads.ns)), l.loads.release())
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
func startGuard(hold *instance, limit time.Duration, flags ...string) (*guardConn, error) {
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
	cmd := exec.Command("/proc/self/exe", append([]string{guardName, "--for", limit.String()}, flags...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{hold.f, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", errors.Join(err, conn.Close()))
	}
	_ = theirs.Close() // so that its end is seen
	g := &guardConn{conn: conn, words: bufio.NewReader(conn), kill: cmd.Process.Kill, ended: make(chan struct{})}
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
