package shaping

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// shaper is a qdisc, or a tree of them, that limits the rate.
type shaper struct {
	name string
	tc   string // commands of tc(8), one a line
}

// rate is what every shaper here is set to: 400 frames a second of the length below. An emulated CPU keeps up.
const (
	rate     = 4_000_000 // bits a second, Ethernet headers included
	payload  = 1208      // bytes a datagram
	frame    = payload + 8 + 20 + 14
	offered  = 560 // datagrams a second: more than the rate
	measured = 600 // datagrams that arrive during one measurement
)

// shapers that the oldest and smallest kernels have.
func shapers() []shaper {
	return []shaper{
		{"tbf", "qdisc add dev r1 root tbf rate 4mbit burst 20kb latency 50ms"},
		{"htb", `qdisc add dev r1 root handle 1: htb default 1
class add dev r1 parent 1: classid 1:1 htb rate 4mbit quantum 1514
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

// compareRates does so with a flood of datagrams, and with TCP.
func compareRates(t *testing.T, s shaper, hook engine.Hook) {
	t.Helper()
	r := shaped(t, options{
		RouterOptions: testkit.RouterOptions{XDP: hook == engine.XDP, NoChecksumOffload: hook == engine.XDP}, tc: s.tc,
	})
	slow, stream := flood(t, r, nil), transfer(t, r, nil)
	d := start(t, r, hook)
	compareFloods(t, r, d, slow)
	if took := transfer(t, r, d); took > 3*stream/2 {
		t.Errorf("TCP takes %v fast and %v slow", took, stream)
	}
}

// compareFloods compares the rate of a flood with that of a slow one before.
func compareFloods(t *testing.T, r *testkit.Router, d *daemon.Daemon, slow float64) {
	t.Helper()
	for _, dev := range d.Status().Devices {
		if dev.Name == r.R1.Name && (dev.XDPTarget || dev.Target.Code != reason.XDPQdiscShapes) {
			t.Errorf("XDP may leave by the shaped device: %+v", dev)
		}
	}
	fast := flood(t, r, d)
	t.Logf("slow %.3f Mbit/s, fast %.3f Mbit/s", slow/1e6, fast/1e6)
	if ratio := fast / slow; ratio < 1-tolerance() || ratio > 1+tolerance() {
		t.Errorf("%.0f bits/s fast, %.0f slow: ratio %.3f", fast, slow, ratio)
	}
}

// tolerance is by how much the rates of both paths may differ. An emulated CPU is late for the shaper's timers, too.
func tolerance() float64 {
	if os.Getenv("NFT_OFFLOAD_IN_VM") != "" {
		return 0.5
	}
	return 0.05
}

// flood sends faster than the shaper lets through and returns the upper quartile of the rate at the sink, bits a
// second of frames. With a daemon the flow is made fast first.
func flood(t *testing.T, r *testkit.Router, d *daemon.Daemon) float64 {
	t.Helper()
	begin, there := root(t, r.Router, "r1"), arrived(t, r)
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
	var pieces []float64
	from, at := udp.Stats().Up.Received, time.Now()
	for range 10 {
		from, at := udp.Stats().Up.Received, time.Now()
		awaitArrivals(t, udp, measured/10)
		pieces = append(pieces, bits(udp.Stats().Up.Received-from, time.Since(at)))
	}
	// No stall makes a shaper faster than it is set to be, but what waited before the window is counted in it.
	if mean := bits(udp.Stats().Up.Received-from, time.Since(at)); mean > (1.03+tolerance()/5)*rate {
		t.Errorf("%.0f bits/s at the sink of a shaper of %d, daemon: %v", mean, rate, d != nil)
	}
	if d != nil {
		if s := share(before, d.Status()); s < minShare {
			t.Errorf("%.1f %% of the packets were fast: %+v", 100*s, d.Status().Stats)
		}
	}
	udp.Stop(time.Second)
	var stats testkit.UDPStats
	err := testkit.Await(10*time.Second, func() error {
		stats = udp.Stats()
		return accounted(root(t, r.Router, "r1").since(begin), arrived(t, r).since(there), stats)
	})
	if err != nil {
		t.Error(err)
	}
	udp.Close()
	unharmed(t, stats)
	// Where other programs run, the sender is late now and then, and the shaper runs empty.
	slices.Sort(pieces)
	return pieces[7]
}

// bits is the rate of datagrams, bits a second of frames.
func bits(datagrams uint64, took time.Duration) float64 {
	return float64(datagrams) * frame * 8 / took.Seconds()
}

// accounted compares what the qdisc has let through with what the server's device has received, and what it has dropped
// with what is missing there. (A server that is late loses some more, between its device and its socket.)
func accounted(q, received counters, stats testkit.UDPStats) error {
	if q.Packets != received.Packets || q.Bytes != received.Bytes {
		return fmt.Errorf("the qdisc has let %+v through, the server has received %+v", q, received)
	}
	if all := received.Packets + q.Drops; received.Packets < stats.Up.Received || all < stats.Sent || all > stats.Sent+others {
		return fmt.Errorf("%d were sent, %d received, and the qdisc has dropped %d", stats.Sent, received.Packets, q.Drops)
	}
	return nil
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

// transfer sends TCP through the shaper and returns how long it took. Its sender has segmentation offload, so most of
// what reaches the shaper is larger than a burst of it. With a daemon the connection is made fast first.
func transfer(t *testing.T, r *testkit.Router, d *daemon.Daemon) time.Duration {
	t.Helper()
	tcp, err := testkit.ConnectTCP(t, r.Path(false, bulkPort), 0)
	if err != nil {
		t.Fatal(err)
	}
	var before engine.Status
	if d != nil {
		awaitFast(t, d, tcp)
		before = d.Status()
	}
	const bytes, segment, headers = 2 * rate / 8, 1448, 52 + 14 // a bit more than two seconds' worth
	got, err := tcp.Transfer(testkit.Load{Up: bytes, Timeout: time.Minute})
	if err != nil {
		t.Error(err)
	}
	if d != nil {
		// A renewal is one packet of up to 45 segments here.
		if s := share(before, d.Status()); s < 0.8 {
			t.Errorf("%.1f %% of the TCP packets were fast: %+v", 100*s, d.Status().Stats)
		}
	}
	const burst = (20 + 2*64) << 10 // bytes that may leave at once: tbf's burst; two packets for which htb and fq give credit
	if least := time.Duration(8 * (bytes*(segment+headers)/segment - burst) * int(time.Second) / rate); got.Duration < least*98/100 {
		t.Errorf("TCP: %d bytes took %v, which is faster than the shaper (%v)", got.Up, got.Duration, least)
	}
	if err := tcp.Finish(10 * time.Second); err != nil {
		t.Error(err)
	}
	return got.Duration
}

// awaitFast keeps a connection busy until its packets are fast.
func awaitFast(t *testing.T, d *daemon.Daemon, tcp *testkit.TCPPair) {
	t.Helper()
	const some = 10
	before := d.Status().Stats.FastPackets().Packets
	testkit.MustAwait(t, 20*time.Second, func() error {
		if err := tcp.Exchange(1000, 5*time.Second); err != nil {
			return err
		}
		if n := d.Status().Stats.FastPackets().Packets - before; n < some {
			return fmt.Errorf("%d of the connection's packets are fast: %+v", n, d.Status().Stats)
		}
		return nil
	})
}
