package soak

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// kills ends the daemon with SIGKILL at points of its life that the seed chooses, each a system call: while it starts,
// while it applies another ruleset, while it sweeps, and while it withdraws. Then it is started again, or withdrawn.
func kills() row {
	return row{
		name:   "daemon killed (kill -9)",
		plan:   plan{each: 3},
		script: kill,
		short:  form{times: 8, pairs: 1},
		full:   form{times: 50, pairs: 2},
		what:   "SIGKILL at a system call that the seed chooses, while the daemon starts, applies another ruleset, sweeps or withdraws; then it is started again or withdrawn.",
		lost:   "nothing, not a datagram",
		proves: "no datagram is lost; what was left is adopted by the next run, or withdrawn without a trace",
	}
}

// lifePoint is a part of the daemon's life, with about as many calls as it makes in it; those behind the last mean that the daemon
// is killed when it has done its work.
type lifePoint struct {
	name     string
	calls    int
	mapCalls int // see callFilter.BPF
	live     func(b *bed)
}

func lifePoints() []lifePoint {
	return []lifePoint{
		{"start", 110, 256, (*bed).starts},
		{"apply", 190, 16, (*bed).applies},
		{"sweep", 40, 1, (*bed).sweeps},
		{"withdraw", 55, 16, (*bed).withdraws},
	}
}

func kill(b *bed, times int) {
	for range times {
		p := lifePoints()[b.random.IntN(len(lifePoints()))]
		at := 1 + b.random.IntN(p.calls)
		again := b.random.IntN(2) == 0
		b.killAt(p, at, again)
		b.talkOn(2)
	}
	b.carried()
	b.nothingMissing()
}

func (b *bed) killAt(p lifePoint, at int, again bool) {
	b.t.Helper()
	if b.d == nil {
		p.live(b)
		b.nft(b.saved)
		return
	}
	if p.name == "start" {
		// The next one finds nothing, or what the last one left.
		b.tally()
		if at%2 == 0 {
			b.d.Kill9()
		} else if err := b.d.Stop(); err != nil {
			b.t.Error(err)
		}
		d, err := b.launch(nil)
		if err != nil {
			b.t.Fatal(err)
		}
		b.d = d
	} else {
		b.tally()
	}
	tr, err := trace(traceOrder{PID: b.d.PID(), At: at, Call: changes(p.mapCalls)})
	if err != nil {
		b.t.Fatal(err)
	}
	p.live(b)
	if b.d.Running() {
		b.d.Kill9()
	}
	r, err := tr.result()
	if err != nil {
		b.t.Error(err)
	}
	b.t.Logf("%s: killed at call %d: %+v", p.name, at, r)
	b.nft(b.saved)
	b.talkOn(2)
	if again {
		b.restart()
		return
	}
	b.withdrawn()
	b.restart()
}

// restart starts the daemon, which must come up whatever is left of the last one.
func (b *bed) restart() {
	b.t.Helper()
	b.take(b.launch(nil))
	b.hooked(b.r.R0.Name, b.r.R1.Name)
	b.unproblematic()
}

// withdrawn withdraws what a killed daemon left.
func (b *bed) withdrawn() {
	b.t.Helper()
	var left objects
	if _, err := os.Stat(b.d.Pins()); err == nil {
		left = b.objects()
	}
	out, err := daemon.Command(b.t, b.r.Router, "withdraw")
	if err != nil || !strings.Contains(out, "withdraw") && !strings.Contains(out, "removed") {
		b.t.Errorf("withdraw: %v: %s", err, out)
	}
	if len(left.maps) > 0 {
		b.nothingLeft(b.d.Pins(), left)
	}
}

// ended returns an error while the daemon runs, unless what is waited for has come.
func (b *bed) endedOr(what func() error) error {
	if !b.d.Running() {
		return nil
	}
	return what()
}

func (b *bed) starts() {
	if b.d != nil {
		_ = b.d.AwaitReady() // an error: killed
	}
}

// applies takes the second device out of the flowtable.
func (b *bed) applies() {
	b.t.Helper()
	b.r.Router.Run("nft", "delete", "element", "inet", "filter", "f1", "{", b.r.R1.Name, "}")
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, patience, func() error {
		return b.endedOr(func() error {
			s, err := b.d.TryStatus()
			if err != nil {
				return err
			}
			if len(s.Devices) != 1 {
				return fmt.Errorf("devices: %+v", s.Devices)
			}
			return nil
		})
	})
}

func (b *bed) sweeps() {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, patience, func() error {
		return b.endedOr(func() error { return fmt.Errorf("still runs") })
	})
}

func (b *bed) withdraws() {
	b.t.Helper()
	if b.d == nil {
		return
	}
	if err := unix.Kill(b.d.PID(), unix.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	testkit.MustAwait(b.t, patience, func() error {
		return b.endedOr(func() error { return fmt.Errorf("still runs") })
	})
}
