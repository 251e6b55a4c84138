package shaping

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// shaper is a qdisc, or a tree of them, that limits the rate.
type shaper struct {
	name string
	tc   string // commands of tc(8), one a line
}

// rate is what every shaper here is set to: 1000 frames a second of the length below. An emulated CPU keeps up.
const (
	rate     = 10_000_000 // bits a second, Ethernet headers included
	payload  = 1208       // bytes a datagram
	frame    = payload + 8 + 20 + 14
	offered  = 1400 // datagrams a second: more than the rate
	measured = 1500 // datagrams that arrive during one measurement
)

// shapers that the oldest and smallest kernels have.
func shapers() []shaper {
	return []shaper{
		{"tbf", "qdisc add dev r1 root tbf rate 10mbit burst 20kb latency 50ms"},
		{"htb", `qdisc add dev r1 root handle 1: htb default 1
class add dev r1 parent 1: classid 1:1 htb rate 10mbit quantum 1514
qdisc add dev r1 parent 1:1 handle 11: pfifo limit 50`},
	}
}

// TestRateIsThatOfTheSlowPath: a flow that offers more than the shaper takes gets the same rate fast as slow, and what
// the qdisc counts as sent and dropped is what was sent.
func TestRateIsThatOfTheSlowPath(t *testing.T) {
	for _, s := range shapers() {
		for _, hook := range []engine.Hook{engine.TC, engine.XDP} {
			t.Run(s.name+"/"+string(hook), func(t *testing.T) { t.Parallel(); compareRates(t, s, hook) })
		}
	}
}

func compareRates(t *testing.T, s shaper, hook engine.Hook) {
	t.Helper()
	r := shaped(t, options{
		RouterOptions: testkit.RouterOptions{XDP: hook == engine.XDP, NoChecksumOffload: hook == engine.XDP}, tc: s.tc,
	})
	slow := flood(t, r, nil)
	stream := transfer(t, r)
	d := start(t, r, hook)
	for _, dev := range d.Status().Devices {
		if dev.Name == r.R1.Name && (dev.XDPTarget || dev.Target.Code != "xdp-qdisc-shapes") {
			t.Errorf("XDP may leave by the shaped device: %+v", dev)
		}
	}
	fast := flood(t, r, d)
	t.Logf("slow %.3f Mbit/s, fast %.3f Mbit/s", slow/1e6, fast/1e6)
	// The clock of the router is the shaper's, so the upper limit is sharp; the lower one depends on a machine that may
	// be busy.
	if limit := 1.03 * rate; fast > limit || slow > limit {
		t.Errorf("%.0f bits/s fast, %.0f slow, of %d", fast, slow, rate)
	}
	if ratio := fast / slow; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("%.0f bits/s fast, %.0f slow: ratio %.3f", fast, slow, ratio)
	}
	before := d.Status()
	if got := transfer(t, r); got > stream*5/4 || got < stream*4/5 {
		t.Errorf("TCP takes %v fast and %v slow", got, stream)
	}
	if s := share(before, d.Status()); s < 0.9 { // the connection's first and last packets are slow
		t.Errorf("%.1f %% of the TCP packets were fast: %+v", 100*s, d.Status().Stats)
	}
}

// flood sends faster than the shaper lets through and returns the rate at the sink, bits a second of frames. With a
// daemon the flow is made fast first.
func flood(t *testing.T, r *testkit.Router, d *daemon.Daemon) float64 {
	t.Helper()
	begin := root(t, r)
	udp := testkit.OpenUDP(t, r.Path(false, bulkPort), testkit.UDPOptions{Size: payload})
	if d != nil {
		settled(t, d, udp)
	}
	udp.Start(offered)
	awaitArrivals(t, udp, measured/3) // by now the shaper has a backlog, and has used up its burst
	var before engine.Status
	if d != nil {
		before = d.Status()
	}
	from, at := udp.Stats().Up.Received, time.Now()
	awaitArrivals(t, udp, measured)
	got, took := udp.Stats().Up.Received-from, time.Since(at)
	if d != nil {
		if s := share(before, d.Status()); s < minShare {
			t.Errorf("%.1f %% of the packets were fast: %+v", 100*s, d.Status().Stats)
		}
	}
	stats := udp.Stop(time.Second)
	udp.Close()
	if stats.Up.Corrupt+stats.Up.Duplicated+stats.Up.Reordered+stats.Down.Corrupt > 0 || len(stats.Errors) > 0 {
		t.Errorf("udp: %+v", stats)
	}
	accounted(t, root(t, r).since(begin.counters), stats)
	return float64(got) * frame * 8 / took.Seconds()
}

// accounted compares the qdisc's counters with what was sent and what arrived.
func accounted(t *testing.T, q counters, stats testkit.UDPStats) {
	t.Helper()
	if d := q.Packets - stats.Up.Received; d > others {
		t.Errorf("the qdisc has let %d packets through, %d of %d have arrived", q.Packets, stats.Up.Received, stats.Sent)
	}
	if d := q.Drops - (stats.Sent - stats.Up.Received); d > others {
		t.Errorf("the qdisc has dropped %d packets, %d of %d have arrived", q.Drops, stats.Up.Received, stats.Sent)
	}
}

func awaitArrivals(t *testing.T, udp *testkit.UDPFlow, n uint64) {
	t.Helper()
	from := udp.Stats().Up.Received
	testkit.MustAwait(t, time.Minute, func() error {
		if got := udp.Stats().Up.Received - from; got < n {
			return fmt.Errorf("%d of %d datagrams have arrived", got, n)
		}
		return nil
	})
}

// transfer sends a second's worth of TCP through the shaper and returns how long it took. Its sender has segmentation
// offload, so most of what reaches the shaper is larger than a burst of it.
func transfer(t *testing.T, r *testkit.Router) time.Duration {
	t.Helper()
	tcp, err := testkit.ConnectTCP(t, r.Path(false, bulkPort), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tcp.Transfer(testkit.Load{Up: rate / 8, Timeout: time.Minute})
	if err != nil {
		t.Error(err)
	}
	if err := tcp.Finish(10 * time.Second); err != nil {
		t.Error(err)
	}
	return got.Duration
}
