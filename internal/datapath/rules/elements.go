// Package rules loads the programs that package bpfgen makes of rules, keeps what they look up and what they count, and
// lets them execute rules only for as long as the daemon says so.
package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// ErrReread is a change that cannot be told from what the kernel said of it: the set has to be read again.
var ErrReread = errors.New("the set has to be read again")

// tooMany is a set with more elements than its map has room for.
func tooMany(set element.SetID) error {
	return &element.FitError{Set: set, Reason: "has more elements than its map has room for"}
}

// Contents are the elements of one named set in its map: put there, changed with every transaction, and taken out when
// their time is over, which the kernel does not tell.
//
// The keys of the map are canonical words (element.Words), and its values 0, or the verdict of a verdict map
// (bpfgen.VerdictData).
//
// Methods may be called from any goroutine. After Close they do nothing: no program looks into the map any more, and its
// memory may be gone.
type Contents struct {
	id     element.SetID
	set    share.Set
	big    bool // the machine's byte order
	report func(error)

	mu     sync.Mutex
	store  store
	loose  bool // some intervals of the set have, or had, an end in time
	timer  *time.Timer
	closed bool
}

// entry is an element as a store has it. Last is the same as first where keys are exact.
type entry struct {
	first, last []uint64
	data        uint32
	expires     time.Time
}

// store is a kind of map with elements in it. Its methods are called one at a time.
type store interface {
	// replace makes at most n entries all that there are; those of intervals come in order.
	replace(n int, entries iter.Seq[entry]) error
	// apply takes entries out, which may not be there, and puts others in, which may.
	apply(gone, come []entry) error
	// atomic reports whether apply makes a change of n entries at once for readers.
	atomic(n int) bool
	// expire takes out what is over and returns when the next will be; zero: nothing will.
	expire(now time.Time) (time.Time, error)
	// find is the entry that has a key.
	find(key []uint64) (entry, bool)
	// highest is the interval with the highest keys.
	highest() (entry, bool)
	// all are the entries of intervals, in order, and how many they are. They must not change meanwhile.
	all() (int, iter.Seq[entry])
	close() error
}

// NewContents takes over the map of a set. The map stays the caller's to close, after Close. The elements of a hash stay
// until the first Replace; a tree must be empty, or no program may look into it. Report is told when expired elements
// could not be taken out: the programs must not execute rules with the set until a Replace succeeds. It must not call
// methods of the contents.
//
// Errors: *element.FitError, with which the set is not for programs.
func NewContents(set share.Set, m *ebpf.Map, report func(error)) (*Contents, error) {
	c := &Contents{
		id: element.SetID{Family: set.Family, Table: set.Table, Name: set.Name}, set: set, report: report,
		big: binary.NativeEndian.Uint16([]byte{0, 1}) == 1,
	}
	s, err := c.newStore(m)
	if err != nil {
		return nil, fmt.Errorf("keep set %s: %w", c.id, err)
	}
	c.store = s
	c.timer = time.AfterFunc(time.Hour, c.tick)
	c.timer.Stop()
	return c, nil
}

func (c *Contents) newStore(m *ebpf.Map) (store, error) {
	switch {
	case c.split():
		return newTreeStore(c.id, m, c.set.Parts[0], c.report)
	case c.set.Ranges:
		return newTupleStore(c.id, m, c.set.Parts, c.report)
	}
	return newHash(c.id, m, element.Count(c.set.Parts))
}

// split reports whether the kernel makes two elements of an interval.
func (c *Contents) split() bool { return c.set.Ranges && len(c.set.Parts) == 1 }

// Replace makes the contents those of a list, changing only what differs. Errors: as Apply. Not every packet sees the
// set as it was before or as it is behind it.
func (c *Contents) Replace(list *element.List) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if err := c.replace(list); err != nil {
		return fmt.Errorf("fill the map of set %s: %w", c.id, err)
	}
	return c.arm(time.Now())
}

func (c *Contents) replace(list *element.List) error {
	var failed error
	c.loose = list.Strays()
	err := c.store.replace(list.Len(), func(yield func(entry) bool) {
		var room entry
		for e := range list.All() {
			if room, failed = c.entry(e, room); failed != nil || !yield(room) {
				return
			}
		}
	})
	return errors.Join(failed, err)
}

// Apply makes the changes of a transaction. Unless it is known to have made the set, the contents must be those from
// before it: after Gone, none. After an error the map may have part of them: the programs must not execute rules with
// the set until a Replace succeeds.
//
// Errors: ErrReread; *element.FitError, with which the set is not for programs; what the kernel
// said.
func (c *Contents) Apply(change element.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if err := c.apply(change); err != nil {
		return fmt.Errorf("change the map of set %s: %w", c.id, err)
	}
	return c.arm(time.Now())
}

func (c *Contents) apply(change element.Change) error {
	switch {
	case change.Gone:
		return c.replace(&element.List{})
	case change.Made && c.split():
		return c.replace(change.Added.Join())
	case change.Made:
		return c.replace(&change.Added)
	case c.split() && c.many(change):
		return c.applyMany(change)
	case c.split():
		return c.applyPoints(change)
	}
	gone, err := c.entries(&change.Deleted)
	if err != nil {
		return err
	}
	come, err := c.entries(&change.Added)
	if err != nil {
		return err
	}
	return c.store.apply(gone, come)
}

// Atomic reports whether every packet sees the set either as it was before a change or as it is behind it. For others,
// those for which Apply returns ErrReread among them, the programs have to be suspended until the set is as it should be.
func (c *Contents) Atomic(change element.Change) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	if change.Made || change.Gone || !c.store.atomic(change.Deleted.Len()+change.Added.Len()) {
		return false
	}
	if c.split() {
		_, _, err := c.nearby(change)
		return err == nil
	}
	return true
}

func (c *Contents) entries(l *element.List) ([]entry, error) {
	out := make([]entry, 0, l.Len())
	for e := range l.All() {
		x, err := c.entry(e, entry{})
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// entry is an element for the store, its words in the room of another.
func (c *Contents) entry(e element.Element, room entry) (entry, error) {
	switch {
	case e.CatchAll():
		return entry{}, c.misfit("has an element for all other keys (*)")
	case e.Stateful:
		return entry{}, c.misfit("has an element with a counter, a limit, a quota or an object of its own")
	}
	x := entry{expires: e.Expires}
	c.loose = c.loose || !e.Expires.IsZero()
	if c.set.Verdicts {
		data, ok := bpfgen.VerdictData(e.Verdict)
		if !ok {
			return entry{}, c.misfit("has an element that leads to a chain")
		}
		x.data = data
	}
	var ok bool
	if x.first, ok = c.words(e.First, room.first); !ok {
		return entry{}, c.misfit("has an element that is no key of its type")
	}
	if e.Last == nil {
		x.last = append(room.last[:0], x.first...)
		return x, nil
	}
	if x.last, ok = c.words(e.Last, room.last); ok {
		return x, nil
	}
	if !c.split() {
		return entry{}, c.misfit("has an element that is no key of its type")
	}
	x.last = element.Highest(room.last[:0], c.set.Parts) // an interval without an end: all bits of all bytes are set
	return x, nil
}

func (c *Contents) words(key []byte, room []uint64) ([]uint64, bool) {
	return element.Words(room[:0], c.set.Parts, key, c.big)
}

func (c *Contents) misfit(why string) error { return &element.FitError{Set: c.id, Reason: why} }

// arm takes out what is over and sets the timer for the next. The lock is held.
func (c *Contents) arm(now time.Time) error {
	if c.closed {
		return nil
	}
	next, err := c.store.expire(now)
	if err != nil {
		return fmt.Errorf("take expired elements out of set %s: %w", c.id, err)
	}
	if next.IsZero() {
		c.timer.Stop()
		return nil
	}
	c.timer.Reset(time.Until(next))
	return nil
}

// tick is the timer.
func (c *Contents) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.arm(time.Now()); err != nil {
		c.report(err)
	}
}

// Close ends the care for expired elements. The map keeps what it has.
func (c *Contents) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.timer.Stop()
	if err := c.store.close(); err != nil {
		c.report(fmt.Errorf("leave the map of set %s: %w", c.id, err))
	}
}
