package soak

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// clocks gives the daemon a monotonic clock far ahead of the kernel's and far behind it, in a time namespace: the programs
// it loads stamp with the kernel's. Each daemon takes over from one with another clock.
func clocks() row {
	return row{
		name:   "daemon's clock ahead and behind",
		plan:   plan{each: 2, launch: func(b *bed) (*daemon.Daemon, error) { return b.launchAt(ahead) }},
		script: jump,
		short:  form{times: 2, pairs: 1},
		full:   form{times: 6, pairs: 1},
		what:   "The daemon runs in a time namespace whose CLOCK_MONOTONIC is days ahead of the kernel's or hours behind it, is killed, and its successor has the other clock.",
		lost:   "nothing",
		proves: "a new rule is in force as soon as ever, with the daemon and, by the lease, when it was killed; what is over is swept",
	}
}

// ahead is an offset of the monotonic clock. It cannot be negative by more than the machine has been up: behind says how
// much that is.
const ahead = 1_000_000 * time.Second

func behind() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // every kernel has it
	return -time.Duration(ts.Sec/2) * time.Second
}

// launchAt starts the daemon with another monotonic clock.
func (b *bed) launchAt(offset time.Duration) (*daemon.Daemon, error) {
	return b.launch(func() error { return enterClock(offset) })
}

// elsewhen checks that the daemon is in a time namespace of its own.
func (b *bed) elsewhen() {
	b.t.Helper()
	ours, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		b.t.Fatal(err)
	}
	if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", b.d.PID())); err != nil || its == ours {
		b.t.Fatalf("the daemon is in our time namespace %s (%v)", its, err)
	}
}

// enterClock makes the programs that the calling thread starts see another monotonic clock (time_namespaces(7)).
func enterClock(offset time.Duration) error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("make time namespace: %w", err)
	}
	seconds := int64(offset / time.Second)
	text := fmt.Sprintf("monotonic %d 0\nboottime %d 0\n", seconds, seconds)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid()), []byte(text), 0); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// In force within: a change, by the daemon's word or by the lease alone, both with a machine's slowness on top.
const (
	inForce      = time.Second
	inForceAlone = 3 * time.Second
)

func jump(b *bed, times int) {
	b.forgetful()
	if b.d != nil {
		b.elsewhen()
	}
	for i := range times {
		b.cut(inForce)
		for i, err := range b.crowd(100, uint64(i)) {
			b.t.Errorf("connection %d: %v", i, err)
		}
		b.calm()
		if b.d != nil {
			b.tally()
			b.d.Kill9()
		}
		b.cut(inForceAlone)
		offset := ahead
		if i%2 == 0 {
			offset = behind()
		}
		if b.d != nil {
			b.take(b.launchAt(offset))
			b.elsewhen()
			if !b.d.Status().Adopted {
				b.t.Error("the datapath was not adopted")
			}
		}
		b.talkOn(2)
		b.carried()
		b.unproblematic()
	}
}

// cut drops the datagrams of one flow for a while and sees that this is in force within the limit.
func (b *bed) cut(limit time.Duration) {
	b.t.Helper()
	for _, c := range b.talks {
		u, ok := c.(*udpTalk)
		if !ok || !strings.HasPrefix(u.name, udp4+"-") {
			continue
		}
		b.r.Router.Run("nft", "insert", "rule", "inet", "filter", "forward", "udp", "dport", fmt.Sprint(u.port), "drop")
		begin := time.Now()
		sent := u.flow.Stats().Sent
		testkit.MustAwait(b.t, patience, func() error {
			s := u.flow.Stats()
			if s.Sent < sent+datagrams/2 || time.Since(later(s.Up.Last, begin)) < time.Second/2 {
				return fmt.Errorf("datagrams still pass: %+v", s)
			}
			return nil
		})
		if took := u.flow.Stats().Up.Last.Sub(begin); took > limit {
			b.t.Errorf("datagrams passed for %v after a rule against them", took)
		}
		break
	}
	b.nft(b.saved)
	b.talkOn(1)
}

func later(a, z time.Time) time.Time {
	if a.After(z) {
		return a
	}
	return z
}
