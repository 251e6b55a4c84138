package shaping

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// inForce is what the daemon promises: a change ends what it contradicts within this time.
const inForce = 200 * time.Millisecond

// lease is how long a change may take when no daemon watches: the hard limit, and what a tick of the datapath's clock
// and the reading of a counter take.
const lease = 2*time.Second + 100*time.Millisecond

// change moves a running flow from class 1:10 to 1:20.
type change struct {
	name   string
	before string // rules that classify
	nft    string // what is loaded while the flow runs
}

func changes() []change {
	rule := fmt.Sprintf("oifname r1 udp dport %d meta priority set ", voicePort)
	element := fmt.Sprintf(" element inet filter classes { %d : ", voicePort)
	return []change{
		{name: "rule", before: rule + "1:10", nft: "flush chain inet filter classify\nadd rule inet filter classify " + rule + "1:20"},
		{
			name: "element", before: "oifname r1 meta mark set udp dport map @classes\nmeta mark 10 meta priority set 1:10\nmeta mark 20 meta priority set 1:20",
			nft: "delete" + element + "10 }\nadd" + element + "20 }",
		},
	}
}

// TestChangedRuleMovesARunningFlowToItsClass: at once with a daemon, within the lease without one; and it is fast there.
func TestChangedRuleMovesARunningFlowToItsClass(t *testing.T) {
	for _, c := range changes() {
		for what, limit := range map[string]time.Duration{"daemon": inForce, "no daemon": lease} {
			t.Run(c.name+"/"+what, func(t *testing.T) {
				t.Parallel()
				r := shaped(t, options{
					tc: twoClasses, classify: c.before,
					tables: fmt.Sprintf("\tmap classes {\n\t\ttype inet_service : mark\n\t\telements = { %d : 10 }\n\t}\n", voicePort),
				})
				d := start(t, r, engine.TC)
				udp := testkit.OpenUDP(t, r.Path(false, voicePort), testkit.UDPOptions{Size: 200})
				settled(t, d, udp)
				udp.Start(1000)
				if what == "no daemon" {
					d.Kill9()
				}
				r.Router.NFTables(c.nft + "\n")
				if took := lastPacketIn(t, r, "1:10"); took > limit {
					t.Errorf("packets were in the old class for %v", took)
				}
				before := classes(t, r)
				udp.Stop(time.Second)
				if err := udp.Exchange(100, 1000, time.Second).Whole(); err != nil {
					t.Error(err)
				}
				now := classes(t, r)
				if got := now["1:20"].since(before["1:20"]).Packets; got < 100 || now["1:10"] != before["1:10"] || now["1:30"].Packets > others {
					t.Errorf("after 100 packets and more the classes are %v, before %v", now, before)
				}
				if what == "no daemon" {
					return // nobody clears the entry that the new class contradicts away
				}
				settled(t, d, udp)
				if end := classes(t, r); end["1:10"] != before["1:10"] {
					t.Errorf("fast again, the flow is back in its old class: %v", end)
				}
			})
		}
	}
}

// lastPacketIn returns for how long from now a class still gets packets; it must be quiet for a while to count as left.
func lastPacketIn(t *testing.T, r *testkit.Router, class string) time.Duration {
	t.Helper()
	begin := time.Now()
	last, n := begin, classes(t, r)[class].Packets
	testkit.MustAwait(t, 20*time.Second, func() error {
		if now := classes(t, r)[class].Packets; now != n {
			last, n = time.Now(), now
		}
		if quiet := time.Since(last); quiet < lease {
			return fmt.Errorf("the last packet in class %s came %v ago", class, quiet)
		}
		return nil
	})
	return last.Sub(begin)
}

// TestShaperThatComesAndGoes: put on a device under a flow at XDP, a shaper is passed by all its packets within the time
// that a change may take; taken away, the flow goes back to XDP.
func TestShaperThatComesAndGoes(t *testing.T) {
	for _, s := range shapers() {
		t.Run(s.name, func(t *testing.T) {
			r := shaped(t, options{RouterOptions: testkit.RouterOptions{XDP: true, NoChecksumOffload: true}})
			d := start(t, r, engine.XDP)
			udp := testkit.OpenUDP(t, r.Path(false, bulkPort), testkit.UDPOptions{Size: payload})
			settled(t, d, udp)
			udp.Start(300)
			awaitHook(t, d.Status, engine.XDP)
			script(t, r, s.tc)
			changed := time.Now()
			testkit.MustAwait(t, time.Second, notBefore(changed.Add(inForce)))
			q, arrived := root(t, r.Router, "r1"), udp.Stats().Up.Received
			awaitArrivals(t, udp, 200)
			// Counted on the way in: a packet or two may be between the counter and the sink.
			passed, got := root(t, r.Router, "r1").since(q).Packets, udp.Stats().Up.Received-arrived
			if passed+5 < got {
				t.Errorf("%d packets have arrived, and %d of them by way of the shaper: %+v", got, passed, d.Status())
			}
			awaitHook(t, d.Status, engine.TC)
			r.Router.Run("tc", "qdisc", "del", "dev", "r1", "root")
			awaitHook(t, d.Status, engine.XDP)
			stats := udp.Stop(time.Second)
			// The kernel throws away what a qdisc holds when it is replaced, and the qdisc what a sender in haste makes too
			// much.
			if c := stats.Up; c.Corrupt+c.Duplicated+c.Reordered > 0 || c.Received < stats.Sent*3/4 || stats.Down.Received != c.Received {
				t.Errorf("udp: %+v", stats)
			}
		})
	}
}

// TestRateThatIsAdaptedAllTheTime: scripts that follow the speed of a radio link change the shaper many times a second.
// That costs a flow nothing, even one whose packets come seldom.
func TestRateThatIsAdaptedAllTheTime(t *testing.T) {
	r := shaped(t, options{tc: twoClasses, classify: priorities()})
	d := start(t, r, engine.TC)
	udp := testkit.OpenUDP(t, r.Path(false, voicePort), testkit.UDPOptions{Size: 200})
	settled(t, d, udp)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		for mbit := 50; ctx.Err() == nil; mbit = 50 + (mbit+1)%50 {
			if _, err := r.Router.Try("tc", "class", "change", "dev", "r1", "parent", "1:", "classid", "1:1", "htb", "rate", fmt.Sprintf("%dmbit", mbit)); err != nil {
				return err
			}
		}
		return nil
	})
	before := d.Status()
	if err := udp.Exchange(100, 40, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	after := d.Status()
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if s := share(before, after); s < 0.9 { // a renewal a second
		t.Errorf("%.1f %% of the flow's packets were fast: %+v", 100*s, after.Stats)
	}
	if n := after.Generations.Count - before.Generations.Count; n > 0 {
		t.Errorf("%d generations: %s", n, after.Generations.Why)
	}
}

// awaitHook waits until a hundred packets have been carried by the hook, and hardly any of them elsewhere. What comes
// back from the server is at XDP all the time.
func awaitHook(t *testing.T, status func() engine.Status, hook engine.Hook) {
	t.Helper()
	const some = 100
	testkit.MustAwait(t, 20*time.Second, func() error {
		before := status().Stats.Fast
		var tc, xdp uint64
		err := testkit.Await(time.Second, func() error {
			now := status().Stats.Fast
			tc, xdp = now[engine.TC].Packets-before[engine.TC].Packets, now[engine.XDP].Packets-before[engine.XDP].Packets
			if tc+xdp < 2*some {
				return fmt.Errorf("%d packets at tc and %d at XDP", tc, xdp)
			}
			return nil
		})
		if err == nil && (hook == engine.TC) != (tc >= some/2) {
			return fmt.Errorf("%d packets at tc and %d at XDP", tc, xdp)
		}
		return err
	})
}

func notBefore(when time.Time) func() error {
	return func() error {
		if left := time.Until(when); left > 0 {
			return fmt.Errorf("%v too early", left)
		}
		return nil
	}
}
