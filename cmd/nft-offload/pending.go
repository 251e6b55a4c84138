package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// loadState is where a load with --confirm stands.
type loadState string

// The states. A confirmed load leaves no record.
const (
	loadWaiting    loadState = "waiting"
	loadConfirmed  loadState = "confirmed"
	loadRolledBack loadState = "rolled-back"
	loadFailed     loadState = "rollback-failed" // the previous ruleset did not come back, or not whole
)

// confirmation says where a load with --confirm stands.
type confirmation struct {
	File  string    `json:"file"`
	State loadState `json:"state"`
	// Until is when it is rolled back; by the wall clock, for people: what counts is the guard's timer.
	Until    time.Time     `json:"until,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	Why      string        `json:"why,omitempty"` // it was rolled back
	Restored *nft.Restored `json:"restored,omitempty"`
	Error    string        `json:"error,omitempty"` // of the rollback
}

// loadRecord is what is kept of a load with --confirm, so that neither the end of a process nor the loss of a session
// loses the previous ruleset.
type loadRecord struct {
	confirmation
	// Namespace is the cookie of the network namespace. Files are named by its inode, which another one may get later.
	Namespace uint64 `json:"namespace"`
	// Boot is the one that the cookie is of: /run may outlive it.
	Boot  string    `json:"boot"`
	Saved nft.Saved `json:"saved"`
}

// here fills in where and when the record is of.
func (r *loadRecord) here() (err error) {
	if r.Namespace, err = namespaceCookie(); err != nil {
		return err
	}
	r.Boot, err = bootID()
	return err
}

// namespaceCookie is the number of the calling thread's network namespace that no other one gets before the next boot
// (SO_NETNS_COOKIE, Linux 5.14).
func namespaceCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("identify network namespace: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was sent
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("identify network namespace: %w", err)
	}
	return cookie, nil
}

// The files of a load with --confirm: its record, the lock of whoever guards it, and where to ask that one.
func (p places) load(ns uint64) string { return filepath.Join(p.state, fmt.Sprintf("%d.load", ns)) }

func (p places) loadLock(ns uint64) string { return p.load(ns) + ".lock" }

func (p places) loadSocket(ns uint64) string { return p.load(ns) + ".sock" }

// readLoad reads the record; nil where there is none, or only that of a namespace or boot that is gone.
func (p places) readLoad(ns uint64) (*loadRecord, error) {
	b, err := os.ReadFile(p.load(ns))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of the last load: %w", err)
	}
	var r loadRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read what is known of the last load (%s): %w", p.load(ns), err)
	}
	var now loadRecord
	if err := now.here(); err != nil || now.Namespace != r.Namespace || now.Boot != r.Boot {
		return nil, err
	}
	return &r, nil
}

// writeLoad replaces the record in one step.
func (p places) writeLoad(ns uint64, r *loadRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep the previous ruleset: %w", err)
	}
	next := p.load(ns) + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep the previous ruleset: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keep the previous ruleset: %w", errors.Join(err, os.Remove(next)))
	}
	if err := os.Rename(next, p.load(ns)); err != nil {
		return fmt.Errorf("keep the previous ruleset: %w", err)
	}
	return nil
}

// forgetLoad removes the record.
func (p places) forgetLoad(ns uint64) error {
	if err := os.Remove(p.load(ns)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the last load: %w", err)
	}
	return nil
}

// forgetRolledBack removes the record of a load that was rolled back, which is history; what waits is the ruleset's
// affair. The caller may have the hold on loads.
func (p places) forgetRolledBack(ns uint64, held bool) error {
	if r, _ := p.readLoad(ns); r == nil || r.State != loadRolledBack {
		return nil
	}
	if !held {
		l := &loads{places: p, ns: ns}
		if err := l.take(); err != nil {
			return nil //nolint:nilerr // the record is that of somebody who loads now
		}
		defer l.release() //nolint:errcheck // a lock file is no news
		if r, _ := p.readLoad(ns); r == nil || r.State != loadRolledBack {
			return nil
		}
	}
	return p.forgetLoad(ns)
}

// guarded reports whether somebody will roll the load back.
func (p places) guarded(ns uint64) bool {
	f, err := os.Open(p.loadLock(ns))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing was written; closing drops the lock
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// clock is how times of a load are shown.
const clock = time.TimeOnly

// say describes the load, and what can be done about it.
func (r *loadRecord) say(guarded bool, now time.Time) string {
	switch {
	case r.State == loadWaiting && !guarded:
		return fmt.Sprintf("the load of %s was not confirmed, and the process that would have rolled it back is gone: "+
			"`nft-offload confirm` keeps the ruleset, `nft-offload rollback` brings the previous one back", r.File)
	case r.State == loadWaiting && r.Until.IsZero():
		return fmt.Sprintf("%s is being loaded", r.File)
	case r.State == loadWaiting:
		return fmt.Sprintf("the load of %s waits for `nft-offload confirm` until %s (%s); after that the previous ruleset comes back",
			r.File, r.Until.Format(clock), span(r.Until.Sub(now)))
	case r.State == loadFailed:
		return fmt.Sprintf("the load of %s was not rolled back whole: %s; `nft-offload rollback` tries again, "+
			"`nft-offload confirm` gives the previous ruleset up", r.File, r.Error)
	}
	return fmt.Sprintf("the load of %s was rolled back at %s (%s ago): %s", r.File, r.Ended.Format(clock), span(now.Sub(r.Ended)), r.Why)
}

// sayPending tells the user of any command about a load that waits, or that was rolled back: who lost a session by a
// load comes back with some other command.
func (e *env) sayPending() {
	ns, err := namespace()
	if err != nil {
		return
	}
	r, err := e.places.readLoad(ns)
	if r == nil || err != nil {
		return // a plain user may not read it
	}
	fmt.Fprintf(e.stderr, "nft-offload: note: %s\n", r.say(e.places.guarded(ns), time.Now()))
}

// pendingError refuses to load beside a load that waits, or over the only copy of a ruleset that did not come back; nil
// where there is neither.
func pendingError(r *loadRecord, guarded bool) error {
	if r == nil || r.State != loadWaiting && r.State != loadFailed {
		return nil
	}
	return withCode(exitPending, errors.New(r.say(guarded, time.Now())))
}
