//go:build guest

package shaping

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// stockShapers are what a distribution's kernel has besides.
func stockShapers() []shaper {
	return []shaper{
		{"cake", "qdisc add dev r1 root cake bandwidth 4mbit"},
		{"htb with fq_codel", `qdisc add dev r1 root handle 1: htb default 1
class add dev r1 parent 1: classid 1:1 htb rate 4mbit quantum 1514
qdisc add dev r1 parent 1:1 handle 11: fq_codel`},
		{"hfsc", `qdisc add dev r1 root handle 1: hfsc default 1
class add dev r1 parent 1: classid 1:1 hfsc sc rate 4mbit ul rate 4mbit
qdisc add dev r1 parent 1:1 handle 11: pfifo limit 50`},
		{"fq with maxrate", "qdisc add dev r1 root fq maxrate 4mbit flow_limit 50"},
	}
}

// proved is what the test will have proven of shaping, if it passes.
func proved(t *testing.T, name, result string) {
	t.Helper()
	testkit.Proved(t, testkit.Feature{Section: "Shaping", Name: name, Result: result})
}

func TestRateIsThatOfTheSlowPathOnAStockKernel(t *testing.T) {
	for i, s := range stockShapers() {
		t.Run(s.name, func(t *testing.T) {
			proved(t, s.name+": rate", "fast (tc)")
			if i == 0 {
				compareRates(t, s, engine.TC)
				return
			}
			r := shaped(t, options{tc: s.tc})
			slow := flood(t, r, nil)
			compareFloods(t, r, start(t, r, engine.TC), slow)
		})
	}
}

// stockClassifiers are qdiscs and classifiers that a distribution's kernel has besides.
func stockClassifiers() []classifier {
	return []classifier{
		{name: "htb, fw", late: marks(), tc: twoClasses + `
filter add dev r1 parent 1: protocol all pref 1 handle 7 fw classid 1:10
filter add dev r1 parent 1: protocol all pref 2 handle 8 fw classid 1:20
`},
		{name: "hfsc, priority", classify: priorities(), tc: `
qdisc add dev r1 root handle 1: hfsc default 30
class add dev r1 parent 1: classid 1:10 hfsc ls rate 20mbit
class add dev r1 parent 1: classid 1:20 hfsc ls rate 20mbit
class add dev r1 parent 1: classid 1:30 hfsc ls rate 20mbit
`},
		{
			name: "prio, priority", classify: fmt.Sprintf("oifname r1 meta priority set 1:3\noifname r1 udp dport %d meta priority set 1:1\noifname r1 udp dport %d meta priority set 1:2", voicePort, bulkPort),
			tc: "qdisc add dev r1 root handle 1: prio bands 3 priomap 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2\n",
			read: func(t *testing.T, r *testkit.Router) map[string]counters {
				c := classes(t, r)
				return map[string]counters{"1:10": c["1:1"], "1:20": c["1:2"], "1:30": c["1:3"]}
			},
		},
		{
			name: "cake, mark", classify: fmt.Sprintf("oifname r1 udp dport %d meta mark set 3\noifname r1 udp dport %d meta mark set 1", voicePort, bulkPort),
			tc: "qdisc add dev r1 root cake bandwidth 100mbit diffserv3 fwmark 0x3\n", read: tins,
		},
	}
}

// tins are the counters of cake's three, as the classes that stand for them here: mark 1 is the first one shown, and
// what has no mark is in the second (net/sched/sch_cake.c, diffserv3).
func tins(t *testing.T, r *testkit.Router) map[string]counters {
	t.Helper()
	var qs []struct {
		Kind string `json:"kind"`
		Tins []struct {
			Sent uint64 `json:"sent_packets"`
		} `json:"tins"`
	}
	out := r.Router.Run("tc", "-s", "-j", "qdisc", "show", "dev", "r1")
	if err := json.Unmarshal([]byte(out), &qs); err != nil {
		t.Fatalf("qdiscs of r1: %v: %s", err, out)
	}
	for _, q := range qs {
		if q.Kind == "cake" && len(q.Tins) == 3 {
			return map[string]counters{"1:20": {Packets: q.Tins[0].Sent}, "1:30": {Packets: q.Tins[1].Sent}, "1:10": {Packets: q.Tins[2].Sent}}
		}
	}
	t.Fatalf("no tins in %s", out)
	return nil
}

func TestFlowsStayInTheirClassesOnAStockKernel(t *testing.T) {
	for _, c := range stockClassifiers() {
		t.Run(c.name, func(t *testing.T) {
			proved(t, c.name+": class", "fast (tc)")
			keepsClasses(t, engine.TC, c)
		})
	}
}

// TestQueuesWithoutALimitOnAStockKernel: qdiscs that limit nothing see every fast packet, and do not keep XDP away.
func TestQueuesWithoutALimitOnAStockKernel(t *testing.T) {
	for _, kind := range []string{"fq_codel", "fq", "sfq"} {
		t.Run(kind, func(t *testing.T) {
			proved(t, kind+": queue", "fast (tc)")
			r := shaped(t, options{tc: "qdisc add dev r1 root handle 1: " + kind})
			d := start(t, r, engine.TC)
			for _, dev := range d.Status().Devices {
				if dev.Target.Code == reason.XDPQdiscShapes {
					t.Errorf("%s: %+v", dev.Name, dev)
				}
			}
			udp := testkit.OpenUDP(t, r.Path(false, bulkPort), testkit.UDPOptions{Size: 200})
			settled(t, d, udp)
			before, established := root(t, r.Router, "r1"), d.Status()
			unharmed(t, udp.Exchange(500, 500, time.Second))
			if s := share(established, d.Status()); s < minShare {
				t.Errorf("%.1f %% of the packets were fast: %+v", 100*s, d.Status().Stats)
			}
			if got := root(t, r.Router, "r1").since(before); got.Packets < 500 || got.Packets > 500+others || got.Drops > 0 {
				t.Errorf("%+v of 500 packets", got)
			}
		})
	}
}

// TestClassByRouteKeepsADeviceSlowOnAStockKernel: a fast packet has no route that a classifier could ask for its realm.
func TestClassByRouteKeepsADeviceSlowOnAStockKernel(t *testing.T) {
	proved(t, "class by route", "slow: foreign-tc-filter")
	r := shaped(t, options{tc: twoClasses + "filter add dev r1 parent 1: protocol ip pref 7 route to 10 classid 1:10\n"})
	r.Router.Run("ip", "route", "replace", "198.51.100.2/32", "dev", "r1", "realm", "10")
	d := daemon.Start(t, r.Router)
	if err := refused(d, "r1", "foreign-tc-filter", "tc filter of qdisc 1: pref 7"); err != nil {
		t.Error(err)
	}
	udp := testkit.OpenUDP(t, r.Path(false, bulkPort), testkit.UDPOptions{Size: 200})
	unharmed(t, udp.Exchange(300, 300, time.Second))
	if c := classes(t, r); c["1:10"].Packets != 300 {
		t.Errorf("300 packets were sent, and the classes are %v", c)
	}
}

// TestKernelFlowtableForgetsTheClassOnAStockKernel: why the README says `load --lower`. The kernel's flowtable carries
// a flow past the rules that give it its class, and what we learn from its packets is what they have: none.
func TestKernelFlowtableForgetsTheClassOnAStockKernel(t *testing.T) {
	testkit.Need(t, testkit.Flowtable)
	proved(t, "class of a flow in the kernel's flowtable", "kernel flowtable: lost")
	for _, ours := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon=%v", ours), func(t *testing.T) {
			r := shaped(t, options{tc: twoClasses, classify: priorities(), kernelFlowtable: true})
			if ours {
				start(t, r, engine.TC)
			}
			udp := testkit.OpenUDP(t, r.Path(false, voicePort), testkit.UDPOptions{Size: 200})
			unharmed(t, udp.Exchange(500, 300, time.Second))
			c := classes(t, r)
			if c["1:10"].Packets > 50 || c["1:30"].Packets < 450 {
				t.Errorf("the kernel's flowtable keeps the class of a flow now: %v", c)
			}
		})
	}
}
