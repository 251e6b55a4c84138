package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TableID names a table.
type TableID struct {
	Family ruleset.Family
	Name   string
}

// Commit is what one nf_tables transaction did, as far as a SetWatch cares.
type Commit struct {
	// Generation is the ruleset's behind it; 0 with Lost.
	Generation uint32
	// Process is the name of the process that made the change, where the kernel says it.
	Process string
	// Tables are those in which more changed than elements of sets: rules, chains, sets, the table itself.
	Tables []TableID
	// Ingress are those of Tables that were given an ingress chain or a flowtable.
	Ingress []TableID
	// Changes are those of elements of the sets that were subscribed to, one for a set.
	Changes []element.Change
	// Lost says that notifications did not fit into the socket's buffer, or that one is missing: anything may have
	// changed, and whoever knows elements has to read them again.
	Lost bool
	// Err ends the commits; the channel closes behind it.
	Err error
}

// SetWatch reports transactions with what they changed.
//
// Of elements the kernel tells what was added and what was deleted, one by one, for `flush set` and for anonymous sets
// too; not that a set was emptied because it was deleted, and not that elements expired, were added by rules, or were
// added although they were there. From Linux 6.12 on, adding one that is there gives it another timeout, and that is
// told; before, it does nothing. Of an interval in a set that is no concatenation it tells of two points, and of one
// alone where the other stays: nft moves an end where it merges intervals, and makes none for an interval that reaches
// the highest key.
//
// Of a set that is declared again it tells as of a new one, from Linux 6.2 on. So a new set is known as such, and told as
// Made, only if its table is new too or the same transaction has deleted the set before.
//
// Who keeps a copy of a set's elements subscribes to it first, then reads it with Elements, and from then on applies
// the changes of commits that the list's generation is Before.
type SetWatch struct {
	conn    *netlink.Conn
	raw     syscall.RawConn
	buf     []byte
	asker   *asker // for tables
	queue   *queue
	commits chan Commit

	mu       sync.Mutex
	want     func(element.SetID) bool
	remember func(element.SetID) bool
	made     map[element.SetID]*made
}

// made is a set as the transaction that made it left it.
type made struct {
	list *element.List
	// passed says that a subscription left it out.
	passed bool
}

// setWatchBuffer is the receive buffer, bytes. The kernel takes twice as much for it, but only while it is needed: it is
// filled at once by each transaction, 12.6 MB by 100,000 addresses and 27.3 MB by 100,000 intervals (Linux 6.18), so it
// has room for half a million addresses. After a larger transaction, if the reader did not keep up, sets are read anew.
const setWatchBuffer = 32 << 20

// WatchSets reports every nf_tables transaction in the calling thread's network namespace from now on. Commits ends
// with the context. They wait for a reader that is slow, and take memory meanwhile.
func WatchSets(ctx context.Context) (*SetWatch, error) {
	return watchSets(ctx, setWatchBuffer)
}

func watchSets(ctx context.Context, buffer int) (*SetWatch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch sets: open netlink socket: %w", err)
	}
	w := &SetWatch{conn: conn, buf: make([]byte, datagram), queue: newQueue(), commits: make(chan Commit)}
	if err := w.join(buffer); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("watch sets: %w", err)
	}
	if w.asker, err = newAsker(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("watch sets: %w", err)
	}
	g := newGathered(w.wanted, w.asker.highestTable)
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // in the past: wakes the reader
	})
	go func() {
		defer w.queue.end()
		defer func() { _ = conn.Close() }()
		defer w.asker.close()
		defer stop()
		w.forward(ctx, g)
	}()
	go func() {
		defer close(w.commits)
		w.queue.deliver(ctx, w.commits)
	}()
	return w, nil
}

// join makes the buffer large before the first notification can come. There is no filter: the kernel puts notifications
// of all kinds together in one datagram.
func (w *SetWatch) join(buffer int) error {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("use netlink socket: %w", err)
	}
	w.raw = raw
	if err := w.conn.SetReadBuffer(buffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := w.conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("join group: %w", err)
	}
	return nil
}

// Commits is where they come, in order.
func (w *SetWatch) Commits() <-chan Commit { return w.commits }

// Subscribe replaces what says whose elements are reported; at first, nobody's are. It holds for all transactions that
// are committed after it returned. Want must not take long: it is asked about every set of a transaction.
//
// It also forgets the sets that are remembered and that two subscriptions have left out: the first may have been decided
// on before they were made.
func (w *SetWatch) Subscribe(want func(element.SetID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = want
	maps.DeleteFunc(w.made, func(set element.SetID, m *made) bool {
		if want != nil && want(set) {
			return false
		}
		gone := m.passed
		m.passed = true
		return gone
	})
}

// Remember replaces what says which sets are remembered from the transaction that makes them, as far as that is known
// (Made), until they change, so that Elements of the watch need not read them: the kernel takes a minute to tell of a
// million prefixes a second time. A million addresses take 4 MB. It is asked as want of Subscribe is.
func (w *SetWatch) Remember(sets func(element.SetID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remember = sets
}

// Elements is Elements of a set, which may be remembered; then it is forgotten.
func (w *SetWatch) Elements(ctx context.Context, set element.SetID) (*element.List, error) {
	w.mu.Lock()
	m := w.made[set]
	delete(w.made, set)
	w.mu.Unlock()
	if m != nil {
		return m.list, nil
	}
	return Elements(ctx, set)
}

// wanted asks whether somebody wants the elements of a set.
func (w *SetWatch) wanted(set element.SetID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.want != nil && w.want(set) || w.remember != nil && w.remember(set)
}

// note remembers the sets that a commit is known to have made, forgets those that it changed, and leaves it the changes
// that were subscribed to.
func (w *SetWatch) note(c *Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Lost {
		w.made = nil
	}
	c.Changes = slices.DeleteFunc(c.Changes, func(x element.Change) bool {
		delete(w.made, x.Set)
		if x.Made && w.remember != nil && w.remember(x.Set) {
			if w.made == nil {
				w.made = map[element.SetID]*made{}
			}
			l := &x.Added
			if x.Points {
				l = l.Join()
			}
			l.Generation = element.Generation(c.Generation)
			w.made[x.Set] = &made{list: l}
		}
		return w.want == nil || !w.want(x.Set)
	})
}

// forward turns notifications into commits until the context ends or the socket fails. It waits for no reader: the time
// that an element has left is told as of the notification, and the socket must not run full.
func (w *SetWatch) forward(ctx context.Context, g *gathered) {
	for {
		b, err := receiveInto(w.raw, w.buf)
		var done []Commit
		switch {
		case errors.Is(err, unix.ENOBUFS):
			done, err = []Commit{{Lost: true}}, drain(w.raw)
			g.forget() // now that notifications come again
		case err == nil:
			done = g.datagram(b, time.Now())
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			done = append(done, Commit{Err: fmt.Errorf("watch sets: %w", err)})
		}
		for _, c := range done {
			w.note(&c)
			w.queue.put(c)
		}
		if err != nil {
			return
		}
	}
}
