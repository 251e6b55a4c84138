package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// ErrReread is a change that cannot be told from what the kernel said of it: the set has to be read again.
var ErrReread = errors.New("the set has to be read again")

// FullError is a set with more elements than its map has room for.
type FullError struct {
	Set element.SetID
	Max int
}

// Error names the set and the limit.
func (e *FullError) Error() string {
	return fmt.Sprintf("set %s: more than %d elements", e.Set, e.Max)
}

// Contents are the elements of one named set in its map: put there, changed with every transaction, and taken out when
// their time is over, which the kernel does not tell.
//
// The keys of the map are canonical words (element.Words), and its values 0, or the verdict of a verdict map.
//
// Methods may be called from any goroutine.
type Contents struct {
	id     element.SetID
	set    share.Set
	big    bool // the machine's byte order
	report func(error)

	mu     sync.Mutex
	store  store
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
	// replace makes n entries all that there are.
	replace(n int, entries func(yield func(entry) bool)) error
	// apply takes entries out, which may not be there, and puts others in, which may.
	apply(gone, come []entry) error
	// expire takes out what is over and returns when the next will be; zero: nothing will.
	expire(now time.Time) (time.Time, error)
	// find is the entry that has a key.
	find(key []uint64) (entry, bool)
	close() error
}

// NewContents takes over the map of a set, with whatever is in it. The map stays the caller's to close, after Close.
// Report is told when expired elements could not be taken out: the programs must not execute rules with the set until
// a Replace succeeds. It must not call methods of the contents.
func NewContents(set share.Set, m *ebpf.Map, report func(error)) (*Contents, error) {
	c := &Contents{
		id: element.SetID{Family: set.Family, Table: set.Table, Name: set.Name}, set: set, report: report,
		big: binary.NativeEndian.Uint16([]byte{0, 1}) == 1,
	}
	s, err := newStore(c, m)
	if err != nil {
		return nil, fmt.Errorf("keep set %s: %w", c.id, err)
	}
	c.store = s
	c.timer = time.AfterFunc(time.Hour, c.tick)
	c.timer.Stop()
	return c, nil
}

func newStore(c *Contents, m *ebpf.Map) (store, error) {
	if c.set.Ranges {
		return nil, errors.New("sets of intervals are not known")
	}
	words := element.Count(c.set.Parts)
	if int(m.KeySize()) != words*wordSize || m.ValueSize() != valueSize {
		return nil, fmt.Errorf("a map with keys of %d and values of %d bytes, not %d and %d", m.KeySize(), m.ValueSize(), words*wordSize, valueSize)
	}
	return newHash(c.id, m, words)
}

// Sizes of what maps hold, in bytes.
const (
	wordSize  = 8
	valueSize = 4
)

// Replace makes the contents those of a list, changing only what differs. Errors: as Apply.
func (c *Contents) Replace(list *element.List) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var failed error
	err := c.store.replace(list.Len(), func(yield func(entry) bool) {
		var first, last []uint64
		for e := range list.All() {
			if over(e, now) {
				continue
			}
			var x entry
			if x, failed = c.entry(e, first[:0], last[:0]); failed != nil || !yield(x) {
				return
			}
			first, last = x.first, x.last
		}
	})
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("fill the map of set %s: %w", c.id, err)
	}
	return c.arm(now)
}

func over(e element.Element, now time.Time) bool { return !e.Expires.IsZero() && !e.Expires.After(now) }

// Apply makes the changes of a transaction. After an error the map may have part of them: the programs must not execute
// rules with the set until a Replace succeeds.
//
// Errors: ErrReread; *FullError and *element.FitError, with which the set is not for programs; what the kernel said.
func (c *Contents) Apply(change element.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone, come, err := c.net(change)
	if err == nil {
		err = c.store.apply(gone, come)
	}
	if err != nil {
		return fmt.Errorf("change the map of set %s: %w", c.id, err)
	}
	return c.arm(time.Now())
}

// net is what a change does to the store.
func (c *Contents) net(change element.Change) (gone, come []entry, err error) {
	if gone, err = c.entries(&change.Deleted); err == nil {
		come, err = c.entries(&change.Added)
	}
	return gone, come, err
}

func (c *Contents) entries(l *element.List) ([]entry, error) {
	out := make([]entry, 0, l.Len())
	for e := range l.All() {
		x, err := c.entry(e, nil, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// entry is an element for the store. Its words are appended to first and last.
func (c *Contents) entry(e element.Element, first, last []uint64) (entry, error) {
	switch {
	case e.CatchAll():
		return entry{}, c.misfit("has an element for all other keys (*)")
	case e.Stateful:
		return entry{}, c.misfit("has an element with a counter, a limit, a quota or an object of its own")
	}
	x := entry{expires: e.Expires}
	if c.set.Verdicts {
		data, ok := verdictData(e.Verdict)
		if !ok {
			return entry{}, c.misfit("has an element that leads to a chain")
		}
		x.data = data
	}
	var ok bool
	if x.first, ok = element.Words(first, c.set.Parts, e.First, c.big); !ok {
		return entry{}, c.misfit("has an element of another size")
	}
	if e.Last == nil {
		x.last = append(last, x.first...)
		return x, nil
	}
	if x.last, ok = element.Words(last, c.set.Parts, e.Last, c.big); !ok {
		return entry{}, c.misfit("has an element of another size")
	}
	return x, nil
}

func (c *Contents) misfit(why string) error { return &element.FitError{Set: c.id, Reason: why} }

// Atomic reports whether every packet sees the set either as it was before a change or as it is behind it. For others
// the programs have to be suspended while Apply runs.
func (c *Contents) Atomic(change element.Change) bool {
	return change.Deleted.Len()+change.Added.Len() <= 1
}

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
func (c *Contents) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.timer.Stop()
	return c.store.close()
}
