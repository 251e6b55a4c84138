//go:build guest

package soak

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// clockSet sets the guest's clock back and forth, by up to ten years.
func clockSet() row {
	return row{
		name:   "clock set back and forth",
		plan:   plan{each: 1},
		script: setClock,
		short:  form{times: 4, pairs: 1},
		full:   form{times: 40, pairs: 1},
		what:   "CLOCK_REALTIME of a virtual machine jumps by up to ten years, forwards and back.",
		lost:   "nothing, not a datagram",
		proves: "leases, sweeps and new rules go by another clock",
	}
}

const decade = 10 * 365 * 24 * time.Hour

func setClock(b *bed, times int) {
	begin, zero := time.Now(), wall(b)
	// Whatever was set: what runs in the guest later finds its clock right.
	b.t.Cleanup(func() { setWall(b, zero.Add(time.Since(begin))) })
	for range times {
		jump := time.Duration(b.random.Int64N(int64(2*decade))) - decade
		setWall(b, zero.Add(jump))
		b.talkOn(2)
		b.carried()
	}
	b.unproblematic()
	b.nothingMissing()
	testkit.Proved(b.t, testkit.Feature{Section: "Reliability", Name: "the clock is set back and forth", Result: "no connection lost"})
}

func wall(b *bed) time.Time {
	b.t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
		b.t.Fatal(err)
	}
	return time.Unix(ts.Unix())
}

func setWall(b *bed, to time.Time) {
	b.t.Helper()
	ts := unix.NsecToTimespec(to.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		b.t.Error(fmt.Errorf("set the clock to %v: %w", to, err))
	}
}
