package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
)

const gib = 1 << 30

// up and down are the two directions of one translated TCP connection, as they arrive.
func up(bytes uint64, idle time.Duration) engine.Activity {
	return engine.Activity{Conntrack: 7, Tuple: tuple("10.0.0.1:1000", "192.0.2.1:80"), Bytes: bytes, Idle: idle}
}

func down(bytes uint64, idle time.Duration) engine.Activity {
	return engine.Activity{Conntrack: 7, Tuple: tuple("192.0.2.1:80", "198.51.100.1:2000"), Bytes: bytes, Idle: idle}
}

const (
	liberalUp = "liberal tcp 10.0.0.1:1000 > 192.0.2.1:80"
	restoreUp = "restore tcp 10.0.0.1:1000 > 192.0.2.1:80"
)

// sweepOf lets one sweep find what is given and returns what was done to conntrack.
func (r *rig) sweepOf(live ...engine.Activity) string {
	r.datapath.SetLive(live...)
	time.Sleep(time.Second)
	synctest.Wait()
	return r.conntrack.Take()
}

func TestCandidatesAreMadeLiberalAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		begin := time.Now()
		for range 1000 {
			r.candidates <- tuple("10.0.0.1:1000", "192.0.2.1:80")
		}
		synctest.Wait()
		if time.Since(begin) != 0 {
			t.Errorf("it took %v", time.Since(begin))
		}
		if got := r.conntrack.Take(); len(got) != 1000*(len(liberalUp)+1)-1 {
			t.Errorf("not all of 1000 candidates were served: %d bytes of log", len(got))
		}
	})
}

func TestConntrackCareFromSweepToSweep(t *testing.T) {
	dead := func(a engine.Activity) engine.Activity { a.Dead = true; return a }
	udp := func(a engine.Activity) engine.Activity { a.Tuple.Proto = packet.UDP; return a }
	type step struct {
		live []engine.Activity
		want string
	}
	for name, steps := range map[string][]step{
		"nothing while it is not carried": {
			{[]engine.Activity{up(0, 0), down(0, 0)}, ""},
			{[]engine.Activity{up(0, 5*time.Second), down(0, 5*time.Second)}, ""},
		},
		"flags once when it became fast": {
			{[]engine.Activity{up(1, 0), down(1, 0)}, liberalUp},
			{[]engine.Activity{up(2, 0), down(2, 0)}, ""},
		},
		"timeout once an idle period": {
			{[]engine.Activity{up(1, 0), down(1, 0)}, liberalUp},
			{[]engine.Activity{up(1, 2500*time.Millisecond), down(1, time.Second)}, ""},
			{[]engine.Activity{up(1, 4*time.Second), down(1, 2500*time.Millisecond)}, restoreUp},
			{[]engine.Activity{up(1, 5*time.Second), down(1, 4*time.Second)}, ""},
			{[]engine.Activity{up(9, 0), down(1, 5*time.Second)}, ""},
			{[]engine.Activity{up(9, 3*time.Second), down(1, 8*time.Second)}, restoreUp},
		},
		"flags after every GiB, both directions together": {
			{[]engine.Activity{up(1, 0), down(1, 0)}, liberalUp},
			{[]engine.Activity{up(gib/2, 0), down(gib/2, 0)}, ""},
			{[]engine.Activity{up(gib, 0), down(gib/2, 0)}, liberalUp},
			{[]engine.Activity{up(gib, 0), down(gib, 0)}, ""},
			{[]engine.Activity{up(4*gib, 0), down(gib, 0)}, liberalUp},
		},
		"flags at the first sight of an end, and no timeout after it": {
			{[]engine.Activity{up(1, 0), down(1, 0)}, liberalUp},
			{[]engine.Activity{dead(up(1, 0)), down(1, 0)}, liberalUp},
			{[]engine.Activity{dead(up(1, 3*time.Second)), dead(down(1, 3*time.Second))}, ""},
		},
		"the same address of another connection": {
			{[]engine.Activity{up(3*gib, 0), down(1, 0)}, liberalUp},
			{[]engine.Activity{{Conntrack: 7, Tuple: tuple("10.0.0.9:9", "192.0.2.1:80"), Bytes: 5}}, "liberal tcp 10.0.0.9:9 > 192.0.2.1:80"},
		},
		"nothing for udp": {
			{[]engine.Activity{udp(up(1, 0)), udp(down(1, 0))}, ""},
			{[]engine.Activity{udp(up(9*gib, 9*time.Second)), udp(down(1, 9*time.Second))}, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig().run(t)
				for i, s := range steps {
					if got := r.sweepOf(s.live...); got != s.want {
						t.Errorf("sweep %d did %q, want %q", i, got, s.want)
					}
				}
			})
		})
	}
}

func TestStoppingClearsTheFlagsOfWhatWasCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		r.sweepOf(up(1, 0), down(1, 0), engine.Activity{Conntrack: 8, Tuple: tuple("10.0.0.2:1", "192.0.2.1:80")})
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		if got := r.conntrack.Take(); got != liberalUp {
			t.Errorf("the end did %q, want %q", got, liberalUp)
		}
	})
}
