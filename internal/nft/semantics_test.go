package nft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// loadText loads a ruleset in a namespace by way of standard input.
func loadText(t *testing.T, ns *testkit.NS, text string, o Options) Report {
	t.Helper()
	r, err := tryLoad(ns, "-", text, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryLoad(ns *testkit.NS, path, stdin string, o Options) (Report, error) {
	o.Stdin = strings.NewReader(stdin)
	var r Report
	err := ns.Do(func() (err error) {
		r, err = Load(context.Background(), path, o)
		return err
	})
	return r, err
}

// counters returns the packets of named counters.
func counters(t *testing.T, ns *testkit.NS) map[string]int {
	t.Helper()
	out := map[string]int{}
	name := ""
	for line := range strings.Lines(ns.Run("nft", "list", "counters")) {
		var n int
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "counter":
			name = f[1]
		case len(f) > 1 && f[0] == "packets":
			if _, err := fmt.Sscan(f[1], &n); err != nil {
				t.Fatal(err)
			}
			out[name] = n
		}
	}
	return out
}

func wantCounters(t *testing.T, ns *testkit.NS, want map[string]int) {
	t.Helper()
	got := counters(t, ns)
	for name, n := range want {
		if got[name] != n {
			t.Errorf("counter %s: %d packets, want %d", name, got[name], n)
		}
	}
}

// udp exchanges n datagrams and wants all of them back. The first one is back before the second one leaves, so that
// the rules meet an answer before they meet a second datagram, however slow the machine.
func udp(t *testing.T, p testkit.Path, n int) {
	t.Helper()
	flow := testkit.OpenUDP(t, p, testkit.UDPOptions{})
	for _, n := range []int{1, n - 1} {
		if err := flow.Exchange(n, 1000, time.Second).Whole(); err != nil {
			t.Error(err)
		}
	}
}

// modes runs a test with the lowered form and, where the kernel has flowtables, with those: the kernel is the judge.
func modes(t *testing.T, f func(t *testing.T, o Options)) {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	t.Run("lowered", func(t *testing.T) { f(t, Options{Lower: true}) })
	has, err := HasFlowtables(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if has {
		t.Run("kernel", func(t *testing.T) { f(t, Options{}) })
	}
}

func families(t *testing.T, f func(t *testing.T, six bool)) {
	t.Run("IPv4", func(t *testing.T) { f(t, false) })
	t.Run("IPv6", func(t *testing.T) { f(t, true) })
}

const (
	bothPorts = "flowtable f { hook ingress priority 0; devices = { r0, r1 }; }\n"
	dropChain = "chain c { type filter hook forward priority 0; policy drop;\nicmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n"
)

func TestLowered_SYNOfADroppedConnection_StaysDropped(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		families(t, func(t *testing.T, six bool) {
			r := testkit.NewRouter(t, testkit.RouterOptions{})
			rules := func(extra string) string {
				return "flush ruleset\ntable inet t {\ncounter passed { }\n" + bothPorts + dropChain + extra +
					"iifname r0 meta l4proto tcp flow add @f accept\nct state established accept\n}\n" +
					"chain after { type filter hook postrouting priority 0\ntcp flags & (syn|ack) == syn counter name passed\n}\n}\n"
			}
			loadText(t, r.Router, rules(""), o)
			if connects(t, r.Path(six, 5001)) {
				t.Error("connected through a ruleset that accepts no new connection")
			}
			wantCounters(t, r.Router, map[string]int{"passed": 0})
			// The same path answers as soon as a rule accepts new connections: the test can fail.
			loadText(t, r.Router, rules("ct state new accept\n"), o)
			c, err := tcpDial(t, r.Path(six, 5002))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Exchange(100_000, 10*time.Second); err != nil {
				t.Error(err)
			}
			if err := c.Finish(5 * time.Second); err != nil {
				t.Error(err)
			}
		})
	})
}

func tcpDial(t *testing.T, p testkit.Path) (*testkit.TCPPair, error) {
	t.Helper()
	return testkit.ConnectTCP(t, p, 0)
}

// connects reports whether anything at all answers a SYN within a short time.
func connects(t *testing.T, p testkit.Path) bool {
	t.Helper()
	var answered bool
	if err := p.Client.Do(func() error {
		c, err := net.DialTimeout("tcp", p.Dial.String(), 300*time.Millisecond)
		if err == nil {
			_ = c.Close()
		}
		var ne net.Error
		answered = !errors.As(err, &ne) || !ne.Timeout() // a refusal (RST) is an answer
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return answered
}

func TestLowered_UDPWithoutAnotherRule_StaysAliveAndCountsOncePerFlow(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		families(t, func(t *testing.T, six bool) {
			r := testkit.NewRouter(t, testkit.RouterOptions{})
			loadText(t, r.Router, "table inet t {\ncounter taken { }\n"+bothPorts+dropChain+
				"ct state new accept\nmeta l4proto udp ct state established flow add @f counter name taken accept\n}\n}\n", o)
			udp(t, r.Path(six, 5001), 50)
			wantCounters(t, r.Router, map[string]int{"taken": 1})
			udp(t, r.Path(six, 5002), 50)
			wantCounters(t, r.Router, map[string]int{"taken": 2})
		})
	})
}

// A flow's packets meet statements in front of `flow add` until one of them is taken, those behind it once; the packet
// that is taken goes on to the next rule, and the later ones end in front of the rule.
func TestLowered_Statements_RunAsOftenAsInTheKernel(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		families(t, func(t *testing.T, six bool) {
			r := testkit.NewRouter(t, testkit.RouterOptions{})
			loadText(t, r.Router, "table inet t {\ncounter seen { }\ncounter before { }\ncounter behind { }\ncounter next { }\n"+
				bothPorts+dropChain+
				"meta l4proto udp counter name seen\n"+
				"meta l4proto udp counter name before flow add @f counter name behind\n"+
				"meta l4proto udp counter name next accept\n}\n}\n", o)
			udp(t, r.Path(six, 5001), 50)
			seen := 2
			if o.Lower {
				seen = 100 // a deviation: rules above see everything
			}
			// Datagram 1 is unconfirmed: not taken. Its echo is taken.
			wantCounters(t, r.Router, map[string]int{"seen": seen, "before": 2, "behind": 1, "next": 2})
		})
	})
}

// The packet that one rule takes must not be accepted by the next rule of the same flowtable, and is not taken again.
func TestLowered_TwoRulesOfOneFlowtable_TakeAFlowOnce(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		r := testkit.NewRouter(t, testkit.RouterOptions{})
		loadText(t, r.Router, "table ip t {\ncounter one { }\ncounter two { }\ncounter next { }\n"+bothPorts+
			"chain c { type filter hook forward priority 0; policy drop\n"+
			"flow add @f counter name one\nudp dport 1-65535 flow add @f counter name two\ncounter name next accept\n}\n}\n", o)
		udp(t, r.Path(false, 5001), 20)
		wantCounters(t, r.Router, map[string]int{"one": 1, "two": 0, "next": 2})
	})
}

// A flowtable takes flows whatever device they come from, but carries only packets that arrive on its own devices.
func TestLowered_TwoFlowtables_CarryTheirOwnDevicesOnly(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		r := testkit.NewRouter(t, testkit.RouterOptions{})
		report := loadText(t, r.Router, "table ip t {\ncounter f { }\ncounter g { }\ncounter next { }\n"+
			"flowtable f { hook ingress priority 0; devices = { r0 }; }\nflowtable g { hook ingress priority 0; devices = { r1 }; }\n"+
			"chain c { type filter hook forward priority 0; policy drop\n"+
			"udp dport 5001 flow add @f counter name f\nmeta l4proto udp flow add @g counter name g\ncounter name next accept\n}\n}\n", o)
		if len(report.Flowtables) != 2 || o.Lower && report.Flowtables[0].Labels == report.Flowtables[1].Labels {
			t.Fatalf("labels of the flowtables: %+v", report.Flowtables)
		}
		const n = 20
		udp(t, r.Path(false, 5001), n) // the echo is taken by g, on r1: echoes are carried, datagrams are not
		wantCounters(t, r.Router, map[string]int{"f": 0, "g": 1, "next": n + 1})
	})
}

// A verdict behind `flow add` that leaves the chain does so from the rule's own chain.
func TestLowered_ReturnBehindFlowAdd_LeavesTheUsersChain(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		r := testkit.NewRouter(t, testkit.RouterOptions{})
		loadText(t, r.Router, "table ip t {\ncounter taken { }\ncounter rest { }\ncounter caller { }\n"+bothPorts+
			"chain user { flow add @f counter name taken return\ncounter name rest\n}\n"+
			"chain c { type filter hook forward priority 0; policy drop\njump user\ncounter name caller accept\n}\n}\n", o)
		udp(t, r.Path(false, 5001), 20)
		// Datagram 1 falls through both; the taken echo returns at once and reaches the caller.
		wantCounters(t, r.Router, map[string]int{"taken": 1, "rest": 1, "caller": 2})
	})
}

// The ruleset's own labels keep their meaning: a connection that carries one is not a taken flow.
func TestLowered_RulesetWithItsOwnLabels_IsNotConfused(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	report := loadText(t, r.Router, "table ip t {\ncounter marked { }\ncounter taken { }\n"+bothPorts+
		"chain c { type filter hook forward priority 0; policy drop\nct label set 127\nct label 127 counter name marked\n"+
		"udp dport 9 flow add @f\nmeta l4proto udp flow add @f counter name taken\nct state new accept\n}\n}\n", Options{Lower: true})
	if report.Flowtables[0].Labels.Has(127) {
		t.Fatal("label 127 was given out twice")
	}
	flow := testkit.OpenUDP(t, r.Path(false, 5001), testkit.UDPOptions{})
	// The first echo is taken, and dropped by the policy; what follows is carried.
	if s := flow.Exchange(1, 1000, 300*time.Millisecond); s.Up.Received != 1 || s.Down.Received != 0 {
		t.Errorf("of one datagram, %d arrived and %d came back", s.Up.Received, s.Down.Received)
	}
	if err := flow.Exchange(2, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	wantCounters(t, r.Router, map[string]int{"marked": 6, "taken": 1})
}

// Labels outlive rulesets. A flow that an earlier ruleset took must not look taken to the next one.
func TestLoad_ConnectionsTakenBefore_MeetTheNewRules(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	all := "flush ruleset\ntable ip t {\n" + bothPorts + "chain c { type filter hook forward priority 0; policy drop\n" +
		"flow add @f accept\nct state new accept\n}\n}\n"
	none := strings.Replace(all, "flow add @f accept\nct state new accept", "udp dport 9 flow add @f", 1)
	seen := map[string]bool{}
	for range 3 {
		labels := loadText(t, r.Router, all, Options{Lower: true}).Flowtables[0].Labels.String()
		if seen[labels] {
			t.Errorf("labels %s were given out again while connections carry them", labels)
		}
		seen[labels] = true
		flow := testkit.OpenUDP(t, r.Path(false, 5001), testkit.UDPOptions{})
		if err := flow.Exchange(5, 1000, time.Second).Whole(); err != nil {
			t.Error(err)
		}
		loadText(t, r.Router, none, Options{Lower: true})
		if s := flow.Exchange(5, 1000, 100*time.Millisecond); s.Up.Received != 0 {
			t.Errorf("%d datagrams passed a ruleset that accepts nothing", s.Up.Received)
		}
		flow.Close()
	}
}

func TestLowered_WithMark_TakesFlows(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		r := testkit.NewRouter(t, testkit.RouterOptions{})
		report := loadText(t, r.Router, "table inet t {\ncounter taken { }\n"+bothPorts+dropChain+
			"ct state new accept\nmeta l4proto udp flow add @f counter name taken accept\n}\n}\n", Options{Lower: true, Mark: 0x40})
		if report.Flowtables[0].Mark != 0x40 || !report.Flowtables[0].Labels.Empty() {
			t.Errorf("report: %+v", report.Flowtables[0])
		}
		udp(t, r.Path(six, 5001), 50)
		wantCounters(t, r.Router, map[string]int{"taken": 1})
	})
}

func TestExamples_RouterRuleset_RoutesTranslatesAndForwards(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	report, err := tryLoad(r.Router, "../../examples/router.nft", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := report.Flowtables[0]; strings.Join(f.Devices, " ") != "r0 r1" || len(f.Missing) > 0 {
		t.Errorf("flowtable: %+v", f)
	}
	for _, six := range []bool{false, true} {
		c, err := tcpDial(t, r.Path(six, 5001))
		if err != nil {
			t.Fatal(err)
		}
		if masked := c.Seen.Addr() == r.R1.Addr(six); masked == six {
			t.Errorf("IPv6 %v: the server sees the client as %v", six, c.Seen)
		}
		if err := c.Exchange(200_000, 10*time.Second); err != nil {
			t.Error(err)
		}
		if err := c.Finish(5 * time.Second); err != nil {
			t.Error(err)
		}
		udp(t, r.Path(six, 5001), 30)
	}
	forward := r.Forwarded(false, 8080, 80)
	udp(t, forward, 30)
	c, err := tcpDial(t, forward)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exchange(200_000, 10*time.Second); err != nil {
		t.Error(err)
	}
	var carried string
	if err := r.Router.Do(func() error {
		l, err := connectionLabels()
		carried = l.String()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// Without lowering both are empty.
	if want := report.Flowtables[0].Labels.String(); carried != want || report.Lowered && want == "" {
		t.Errorf("connections carry labels %q, want %q", carried, want)
	}
	direct := testkit.Path{Client: r.Server, Dial: r.Forwarded(false, 0, 5003).Listen, Server: r.Client}
	if connects(t, direct) {
		t.Error("the world can connect to a LAN host")
	}
}

func TestExamples_ForwardOffload_LeavesOutMissingDevicesAndForwards(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	r.Router.Script("ip link set r0 down\nip link set r0 name eth0\nip link set eth0 up")
	report, err := tryLoad(r.Router, "../../examples/forward-offload.nft", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := report.Flowtables[0]; strings.Join(f.Devices, " ") != "eth0" || strings.Join(f.Missing, " ") != "eth1" {
		t.Errorf("flowtable: %+v", f)
	}
	c, err := tcpDial(t, r.Path(false, 5001))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exchange(200_000, 10*time.Second); err != nil {
		t.Error(err)
	}
	udp(t, r.Path(false, 5001), 10)
}
