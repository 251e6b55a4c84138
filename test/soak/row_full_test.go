package soak

import (
	"errors"
	"fmt"
	"sync"
	"time"

	ti "github.com/ti-mo/conntrack"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// fullTable fills the router's conntrack table to the last entry. nf_conntrack_max belongs to the machine, but each
// namespace counts its own entries against it (nf_conntrack_alloc, net/netfilter/nf_conntrack_core.c), so a full table
// here is nobody else's.
func fullTable() row {
	return row{
		name:   "conntrack table full",
		plan:   plan{each: 3},
		script: fill,
		short:  form{times: 1, pairs: 1},
		full:   form{times: 1, pairs: 4},
		what:   "The namespace's table is filled to nf_conntrack_max with assured entries; 8 new connections are tried, the table is emptied, and they are tried again.",
		lost:   "nothing; new connections are refused until there is room again",
		proves: "renewals go on while the table is full, no datagram is lost, and the same new connections are refused",
	}
}

// fillers of the table are known by their mark.
const fillers = 0x50a4

// strangers is how many connections are tried while the table is full.
const strangers = 8

func fill(b *bed, times int) {
	b.assured()
	for range times {
		b.fillTable()
		b.talkOn(uint64(2 * time.Second / rest)) // longer than a lease
		b.carried()
		if got := b.refused(); got != strangers {
			b.t.Errorf("%d of %d new connections were refused", got, strangers)
		}
		b.emptyTable()
		if got := b.refused(); got != 0 {
			b.t.Errorf("%d of %d new connections were refused when there was room again", got, strangers)
		}
	}
	b.add(masqueraded, 2)
	b.talkOn(5)
	b.carried()
	b.unproblematic()
	b.nothingMissing()
}

// assured waits until the kernel would not drop any talk's entry to make room for another (early_drop).
func (b *bed) assured() {
	b.t.Helper()
	testkit.MustAwait(b.t, patience, func() error {
		for _, e := range b.tracked() {
			if e.Status&conntrack.Assured == 0 {
				return fmt.Errorf("%s is not assured", e)
			}
		}
		return nil
	})
}

// fillTable makes entries until there is no room for another.
func (b *bed) fillTable() {
	b.t.Helper()
	err := b.r.Router.Do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing was written
		w, err := openFiller()
		if err != nil {
			return err
		}
		defer w.close()
		return testkit.Await(patience, func() error {
			u, err := c.Usage()
			if err == nil && u.Entries < u.Max {
				err = errors.Join(fmt.Errorf("%d of %d entries", u.Entries, u.Max), w.make(u.Max-u.Entries))
			}
			return err
		})
	})
	if err != nil {
		b.t.Fatalf("fill conntrack table: %v", err)
	}
}

func (b *bed) emptyTable() {
	b.t.Helper()
	err := b.r.Router.Do(func() error {
		c, err := ti.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // what was asked for is checked
		return c.FlushFilter(ti.NewFilter().Mark(fillers).MarkMask(1<<32 - 1))
	})
	if err != nil {
		b.t.Fatalf("empty conntrack table: %v", err)
	}
}

// refused tries new connections and counts those that do not come about.
func (b *bed) refused() int {
	b.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	failed := 0
	for i := range strangers {
		all.Go(func() {
			pair, err := testkit.ConnectTCP(b.t, b.r.Path(i%2 == 0, uint16(firstPort+1000+i)), 0)
			if err == nil {
				err = pair.Exchange(largest, patience)
				pair.Abort()
			}
			if err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}
