package flows

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// command runs a command of the program and decodes what it prints as JSON.
func command[T any](t *testing.T, r *testkit.Router, args ...string) T {
	t.Helper()
	out, err := daemon.Command(t, r.Router, append(args, "--json")...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return v
}

// entriesOf are those of the flow with this client's port that have not ended.
func entriesOf(d *daemon.Daemon, local netip.AddrPort) []engine.Flow {
	return slices.DeleteFunc(d.Flows(), func(f engine.Flow) bool {
		return f.State == "dead" || f.Src.Port() != local.Port() && f.NATDst.Port() != local.Port()
	})
}

// fastPackets is what a flow has carried; 0 where it is not in the table.
func fastPackets(d *daemon.Daemon, local netip.AddrPort) (packets uint64, entries int) {
	for _, f := range entriesOf(d, local) {
		packets += f.Packets
		entries++
	}
	return packets, entries
}

// youngerThan says that the flow's entries were made after a moment.
func youngerThan(d *daemon.Daemon, local netip.AddrPort, when time.Time) error {
	for _, f := range entriesOf(d, local) {
		if time.Duration(f.Age) > time.Since(when)+clockTick {
			return fmt.Errorf("an entry is %v old, %v after the flush", time.Duration(f.Age), time.Since(when))
		}
	}
	return nil
}

// clockTick is what the programs' clock may be late by: two ticks of 250 Hz.
const clockTick = 10 * time.Millisecond

// awaitFast waits until both directions of a flow carry packets.
func awaitFast(t *testing.T, d *daemon.Daemon, local netip.AddrPort, packets uint64) {
	t.Helper()
	testkit.MustAwait(t, 10*time.Second, func() error {
		if n, e := fastPackets(d, local); e != 2 || n < packets {
			return fmt.Errorf("%d entries have carried %d packets: %+v", e, n, d.Status().Stats)
		}
		return nil
	})
}

// TestFlushMakesFlowsSlowAtOnceAndLosesNothing: under traffic, with a filter that names the flow by each of its four
// ends; other flows are not touched.
func TestFlushMakesFlowsSlowAtOnceAndLosesNothing(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		n := translations()[4]
		for _, six := range []bool{false, true} {
			r, d := routed(t, hook, n, finished())
			udp, other := testkit.OpenUDP(t, n.path(r, six), testkit.UDPOptions{}), testkit.OpenUDP(t, r.Path(six, port+1), testkit.UDPOptions{})
			udp.Start(1000)
			other.Start(200)
			awaitFast(t, d, udp.Local(), 500)
			awaitFast(t, d, other.Local(), 50)
			seen := udp.Stats().Seen.Addr().String()
			ends := [][]string{
				{"--src", udp.Local().Addr().String(), "--port", fmt.Sprint(udp.Local().Port())},
				{"--dst", r.R0.Addr(six).String(), "--proto", "udp"}, // as it arrives
				{"--src", r.S0.Addr(six).String(), "--port", fmt.Sprint(port)},
				{"--dst", seen, "--port", fmt.Sprint(port)}, // as the answers arrive
			}
			for _, filter := range ends {
				kept, _ := fastPackets(d, other.Local())
				began := time.Now()
				got := command[engine.Flushed](t, r, append([]string{"flows", "flush"}, filter...)...)
				if got.Flows != 1 || got.Directions != 2 {
					t.Errorf("six=%v %v: flushed %+v, want one flow", six, filter, got)
				}
				if err := youngerThan(d, udp.Local(), began); err != nil {
					t.Errorf("six=%v %v: %v", six, filter, err)
				}
				if n, e := fastPackets(d, other.Local()); e != 2 || n < kept {
					t.Errorf("six=%v %v: another flow was touched: %d entries, %d packets, before %d", six, filter, e, n, kept)
				}
				awaitFast(t, d, udp.Local(), 500)
			}
			slow := d.Status().Stats.Slow.Packets
			if got := command[engine.Flushed](t, r, "flows", "flush", "--all"); got.Flows != 2 || got.Directions != 4 {
				t.Errorf("six=%v: flushed %+v of two flows", six, got)
			}
			awaitFast(t, d, udp.Local(), 100)
			if now := d.Status().Stats.Slow.Packets; now < slow+4 {
				t.Errorf("six=%v: %d packets were slow after the flush", six, now-slow)
			}
			if got := command[engine.Flushed](t, r, "flows", "flush", "--src", "192.0.2.77"); got != (engine.Flushed{}) {
				t.Errorf("six=%v: flushed %+v of nobody's flows", six, got)
			}
			if err := udp.Stop(time.Second).Whole(); err != nil {
				t.Error(err)
			}
			if err := other.Stop(time.Second).Whole(); err != nil {
				t.Error(err)
			}
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestFlushInTheMiddleOfATCPTransfer: a connection that is flushed again and again keeps its payload and closes well.
func TestFlushInTheMiddleOfATCPTransfer(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		r, d := routed(t, hook, translations()[1], finished())
		tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
		if err != nil {
			t.Fatal(err)
		}
		moved := make(chan error, 1)
		go func() {
			_, err := tcp.Transfer(testkit.Load{Up: 800_000, Down: 800_000, Rate: 1000, Size: 100})
			moved <- err
		}()
		flushes := 0
		for done := false; !done; {
			awaitOr := testkit.Await(5*time.Second, func() error {
				select {
				case err := <-moved:
					if err != nil {
						t.Error(err)
					}
					done = true
					return nil
				default:
				}
				if _, e := fastPackets(d, tcp.Local()); e != 2 {
					return fmt.Errorf("%d entries", e)
				}
				return nil
			})
			if awaitOr != nil {
				t.Fatal(awaitOr)
			}
			if !done {
				flushes += command[engine.Flushed](t, r, "flows", "flush", "--proto", "tcp", "--port", fmt.Sprint(port)).Flows
			}
		}
		if flushes < 3 {
			t.Errorf("flushed only %d times", flushes)
		}
		if err := tcp.Finish(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestHeldFlowIsSeenByTapsAndCountersUntilTheHoldEnds: every packet while it is held; few before and after.
func TestHeldFlowIsSeenByTapsAndCountersUntilTheHoldEnds(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		o := finished()
		o.changes = true
		r, d := routed(t, hook, translations()[1], o)
		r.Router.NFTables(fmt.Sprintf("add counter inet filter seen\ninsert rule inet filter forward udp dport %d counter name seen\n", port))
		udp := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
		udp.Start(500)
		awaitFast(t, d, udp.Local(), 500)
		out := testkit.OpenPort(t, r.R1, testkit.PortOptions{Outgoing: true})
		outgoing := func(period time.Duration) int {
			if _, err := out.Drain(); err != nil {
				t.Fatal(err)
			}
			n := 0
			for until := time.Now().Add(period); ; {
				f, err := out.Recv(time.Until(until), nil)
				if err != nil {
					return n
				}
				if f.Outgoing {
					n++
				}
			}
		}
		if n := counted(t, r); n > 50 {
			t.Errorf("the rule counted %d packets of a fast flow", n)
		}

		const hold = 4 * time.Second
		asked := time.Now()
		got := command[struct {
			Left    float64        `json:"left_seconds"`
			Flushed engine.Flushed `json:"flushed"`
		}](t, r, "flows", "hold", "--src", udp.Local().Addr().String(), "--for", hold.String())
		began := time.Now()
		if got.Flushed.Flows != 1 || got.Left != hold.Seconds() {
			t.Errorf("held: %+v", got)
		}
		before, sent, fast := counted(t, r), udp.Stats().Sent, d.Status().Stats.FastPackets().Packets
		seen := outgoing(time.Second)
		after, now := counted(t, r), udp.Stats().Sent
		if n := now - sent; uint64(seen) < n*9/10 || after-before < n*9/10 {
			t.Errorf("held: %d packets were sent, a tap saw %d on the way out and a rule %d", n, seen, after-before)
		}
		if n := d.Status().Stats.FastPackets().Packets - fast; n > 0 {
			t.Errorf("held: %d packets were fast", n)
		}
		if s := d.Status(); daemon.Reason(s, "held") == 0 {
			t.Errorf("no packet has the reason: %+v", s.Stats.Reasons)
		}
		holds := command[[]engine.Hold](t, r, "flows", "hold", "--list")
		if len(holds) != 1 || holds[0].Src != netip.PrefixFrom(udp.Local().Addr(), 32) || time.Duration(holds[0].Left) > hold {
			t.Errorf("holds: %+v", holds)
		}

		awaitFast(t, d, udp.Local(), 1)
		// It began between the question and the answer.
		if now := time.Now(); now.Sub(asked) < hold-clockTick || now.Sub(began) > hold+5*time.Second {
			t.Errorf("fast again after %v, held for %v", now.Sub(began), hold)
		}
		if holds := command[[]engine.Hold](t, r, "flows", "hold", "--list"); len(holds) != 0 {
			t.Errorf("holds after their time: %+v", holds)
		}
		awaitFast(t, d, udp.Local(), 100)
		sent = udp.Stats().Sent
		before = counted(t, r)
		seen = outgoing(time.Second)
		// Packets that tc redirects leave through the device's queue, where taps are; those of XDP do not.
		if n := udp.Stats().Sent - sent; hook == engine.XDP && uint64(seen) > n/10 || counted(t, r)-before > n/10 {
			t.Errorf("after the hold a tap saw %d of %d packets on the way out and a rule %d", seen, n, counted(t, r)-before)
		}
		if err := udp.Stop(time.Second).Whole(); err != nil {
			t.Error(err)
		}
	})
}

// counted reads the rule's counter.
func counted(t *testing.T, r *testkit.Router) uint64 {
	t.Helper()
	var doc struct {
		Nftables []struct {
			Counter *struct{ Packets uint64 } `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(r.Router.Run("nft", "-j", "list", "counters")), &doc); err != nil {
		t.Fatal(err)
	}
	for _, o := range doc.Nftables {
		if o.Counter != nil {
			return o.Counter.Packets
		}
	}
	t.Fatal("no counter")
	return 0
}

// TestHoldMeansFlowsAsTheFilterSays: prefixes of both families, ports and protocols, by either end and either side of NAT,
// and release.
func TestHoldMeansFlowsAsTheFilterSays(t *testing.T) {
	n := translations()[4]
	r, d := routed(t, engine.TC, n, finished())
	flows := map[string]*testkit.UDPFlow{
		"four": testkit.OpenUDP(t, n.path(r, false), testkit.UDPOptions{}),
		"six":  testkit.OpenUDP(t, n.path(r, true), testkit.UDPOptions{}),
	}
	for _, f := range flows {
		f.Start(300)
	}
	check := func(filter string, want ...string) {
		t.Helper()
		command[any](t, r, append([]string{"flows", "hold", "--for", "60s"}, strings.Fields(filter)...)...)
		// What is not held must be fast; what is held must not be in the table, a good many packets later.
		from := map[string]uint64{}
		for name, f := range flows {
			from[name] = f.Stats().Sent
		}
		for name, f := range flows {
			held := strings.Contains(strings.Join(want, " "), name)
			if !held {
				awaitFast(t, d, f.Local(), 50)
				continue
			}
			testkit.MustAwait(t, 5*time.Second, func() error {
				if f.Stats().Sent < from[name]+100 {
					return fmt.Errorf("only %d packets", f.Stats().Sent-from[name])
				}
				return nil
			})
			if packets, e := fastPackets(d, f.Local()); e != 0 {
				t.Errorf("hold %s: %s is in the table and carried %d packets", filter, name, packets)
			}
		}
		if n := command[map[string]int](t, r, "flows", "release")["released"]; n != 1 {
			t.Errorf("released %d holds", n)
		}
		for _, f := range flows {
			awaitFast(t, d, f.Local(), 1)
		}
	}
	check("--all", "four", "six")
	check("--src 10.0.1.2", "four")
	check("--dst 10.0.1.0/25", "four")
	check("--src 10.0.1.128/25")
	check("--src 198.51.100.2 --dst "+flows["four"].Stats().Seen.Addr().String(), "four")
	check("--dst 198.51.100.0/30 --src 198.51.100.0/30", "four")
	check("--src 2001:db8:1::2", "six")
	check("--dst 2001:db8:1::/48", "six")
	check("--dst 2001:db8:0:fff0::/60")
	check("--src 2001:db8:2::2 --dst "+flows["six"].Stats().Seen.Addr().String(), "six")
	check("--src 2001:db8:2::2 --dst 2001:db8:2::6/128")
	check("--port 8000", "four", "six")
	check(fmt.Sprintf("--port %d --proto udp", port), "four", "six")
	check("--port 8000 --proto tcp")
	check("--src 0.0.0.0/0", "four")
	check("--dst ::/0 --port 8000", "six")
	for name, f := range flows {
		if err := f.Stop(time.Second).Whole(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHoldOutlivesTheDaemonAndEndsWithoutIt: killed, started again, killed again.
func TestHoldOutlivesTheDaemonAndEndsWithoutIt(t *testing.T) {
	r, d := routed(t, engine.TC, translations()[1], finished())
	udp := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
	udp.Start(500)
	awaitFast(t, d, udp.Local(), 100)
	const hold = 10 * time.Second
	command[any](t, r, "flows", "hold", "--port", fmt.Sprint(port), "--for", hold.String())
	began := time.Now()
	d.Kill9()
	d = daemon.Start(t, r.Router, "--device", "r0=tc", "--device", "r1=tc")
	if s := d.Status(); !s.Adopted {
		t.Fatal("the datapath was not adopted")
	}
	if holds := command[[]engine.Hold](t, r, "flows", "hold", "--list"); len(holds) != 1 || holds[0].Port != port {
		t.Errorf("holds after the daemon was killed: %+v", holds)
	}
	fast := d.Status().Stats.FastPackets().Packets
	// What the hold has ended is deleted by a daemon, or never.
	testkit.MustAwait(t, 10*time.Second, func() error {
		if n := len(d.Flows()); n > 0 {
			return fmt.Errorf("%d entries", n)
		}
		return nil
	})
	if n := d.Status().Stats.FastPackets().Packets - fast; n != 0 && time.Since(began) < hold {
		t.Errorf("%d packets were fast though held", n)
	}
	d.Kill9()
	testkit.MustAwait(t, 2*hold, notEarlier(began.Add(hold+time.Second)))
	d = daemon.Start(t, r.Router, "--device", "r0=tc", "--device", "r1=tc")
	// Learned while nobody was there: UDP needs no daemon.
	if n := d.Status().Stats.FastPackets().Packets - fast; n < 100 {
		t.Errorf("%d packets were fast after the hold, without a daemon", n)
	}
	if err := udp.Stop(time.Second).Whole(); err != nil {
		t.Error(err)
	}
}

func notEarlier(when time.Time) func() error {
	return func() error {
		if left := time.Until(when); left > 0 {
			return fmt.Errorf("%v too early", left)
		}
		return nil
	}
}

func TestMoreHoldsThanFitAreRefused(t *testing.T) {
	r, _ := routed(t, engine.TC, translations()[0], finished())
	for i := range 16 {
		command[any](t, r, "flows", "hold", "--port", fmt.Sprint(100+i))
	}
	out, err := daemon.Command(t, r.Router, "flows", "hold", "--port", "99")
	if daemon.ExitCode(err) != 1 || !strings.Contains(out, "as many holds as fit") {
		t.Errorf("the 17th: %v: %s", err, out)
	}
	command[any](t, r, "flows", "hold", "--port", "107") // begins anew
	if n := command[map[string]int](t, r, "flows", "release", "--port", "103")["released"]; n != 1 {
		t.Errorf("released %d", n)
	}
	command[any](t, r, "flows", "hold", "--port", "99")
	if n := command[map[string]int](t, r, "flows", "release")["released"]; n != 16 {
		t.Errorf("released %d, want 16", n)
	}
}

// TestRefusedFlowsAreListedWithWhatIsInTheWay: through a device with a chain that fast packets would not pass.
func TestRefusedFlowsAreListedWithWhatIsInTheWay(t *testing.T) {
	o := finished()
	o.changes = true
	r, d := routed(t, engine.TC, translations()[1], o)
	udp := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
	udp.Start(300)
	awaitFast(t, d, udp.Local(), 50)
	if refused := command[[]engine.Refused](t, r, "flows", "--refused"); len(refused) != 0 {
		t.Errorf("refused though carried: %+v", refused)
	}
	r.Router.NFTables("table netdev guard {\n chain in {\n type filter hook ingress device r1 priority 0; policy accept\n tcp dport 23 counter accept\n }\n}\n")
	var refused []engine.Refused
	testkit.MustAwait(t, 10*time.Second, func() error {
		if refused = command[[]engine.Refused](t, r, "flows", "--refused", "--port", fmt.Sprint(port)); len(refused) != 2 {
			return fmt.Errorf("refused: %+v", refused)
		}
		return nil
	})
	for _, f := range refused {
		if f.Code != "device-refused" || !strings.Contains(f.Text, "netdev guard in on r1") || f.Advice == "" || f.Samples == 0 ||
			len(f.Causes) != 1 || f.Causes[0].Device != "r1" || f.Causes[0].Reason.Code != reason.OffDeviceChain {
			t.Errorf("refused: %+v", f)
		}
		if f.In == f.Out || f.In != "r0" && f.In != "r1" || f.Out != "r0" && f.Out != "r1" {
			t.Errorf("from %s to %s", f.In, f.Out)
		}
	}
	if other := command[[]engine.Refused](t, r, "flows", "--refused", "--src", "192.0.2.1"); len(other) != 0 {
		t.Errorf("of another address: %+v", other)
	}
	out, err := daemon.Command(t, r.Router, "flows", "--refused")
	if err != nil || !strings.Contains(out, "r0 > r1  device-refused") || !strings.Contains(strings.Join(strings.Fields(out), " "), "remove the chain or its rules") {
		t.Errorf("%v: %s", err, out)
	}
	// Without the chain the flow is carried again, and no longer listed.
	r.Router.Run("nft", "delete", "table", "netdev", "guard")
	testkit.MustAwait(t, 10*time.Second, func() error {
		if refused := command[[]engine.Refused](t, r, "flows", "--refused"); len(refused) != 0 {
			return fmt.Errorf("refused though carried again: %+v", refused)
		}
		return nil
	})
	// Held is a reason like others.
	command[any](t, r, "flows", "hold", "--all", "--for", "30s")
	testkit.MustAwait(t, 10*time.Second, func() error {
		refused := command[[]engine.Refused](t, r, "flows", "--refused")
		if len(refused) != 2 || refused[0].Code != "held" || !strings.Contains(refused[0].Advice, "flows release") {
			return fmt.Errorf("refused: %+v", refused)
		}
		return nil
	})
	if err := udp.Stop(time.Second).Whole(); err != nil {
		t.Error(err)
	}
}

// TestClosedConnectionsAreNotListedAsRefused: what FIN and RST leave is no reason of a flow.
func TestClosedConnectionsAreNotListedAsRefused(t *testing.T) {
	r, _ := routed(t, engine.TC, translations()[1], finished())
	for range 5 {
		tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := tcp.Exchange(20_000, 5*time.Second); err != nil {
			t.Error(err)
		}
		if err := tcp.Finish(5 * time.Second); err != nil {
			t.Error(err)
		}
	}
	if refused := command[[]engine.Refused](t, r, "flows", "--refused"); len(refused) != 0 {
		t.Errorf("refused: %+v", refused)
	}
}
