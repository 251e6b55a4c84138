package flows

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// inForce is what the daemon promises: a change ends what it contradicts within this time.
const inForce = 200 * time.Millisecond

// change stops a running flow; each is something that the kernel's slow path would obey at once.
type change struct {
	name string
	do   func(t *testing.T, r *testkit.Router, flow packet.Tuple)
}

func changes() []change {
	run := func(args ...string) func(*testing.T, *testkit.Router, packet.Tuple) {
		return func(_ *testing.T, r *testkit.Router, _ packet.Tuple) { r.Router.Run(args[0], args[1:]...) }
	}
	return []change{
		{"drop rule in front", run("nft", "insert", "rule", "inet", "filter", "forward", "udp", "dport", fmt.Sprint(port), "drop")},
		{"conntrack entry deleted, new flows dropped", func(t *testing.T, r *testkit.Router, flow packet.Tuple) {
			r.Router.Run("nft", "insert", "rule", "inet", "filter", "forward", "ct", "state", "new", "drop")
			withConntrack(t, r, func(c *conntrack.Conn) {
				if err := c.Delete(flow); err != nil {
					t.Fatal(err)
				}
			})
		}},
		{"route blackholed", run("ip", "route", "add", "blackhole", "198.51.100.2/32")},
		{"neighbour's MAC changed", run("ip", "neigh", "replace", "198.51.100.2", "lladdr", "02:00:00:00:99:99", "dev", "r1", "nud", "permanent")},
		{"device down", run("ip", "link", "set", "r1", "down")},
		{"policy routing by mark", func(_ *testing.T, r *testkit.Router, _ packet.Tuple) {
			r.Router.Run("ip", "rule", "add", "fwmark", "7", "blackhole")
			r.Router.NFTables("table inet m {\n chain p {\n type filter hook prerouting priority -150; policy accept\n iifname r0 meta mark set 7\n }\n}\n")
		}},
		{"ruleset flushed, policy drop", func(_ *testing.T, r *testkit.Router, _ packet.Tuple) {
			r.Router.NFTables("flush ruleset\ntable inet x {\n chain f {\n type filter hook forward priority 0; policy drop\n }\n}\n")
		}},
	}
}

func TestChangeIsInForceAtOnceWithADaemon(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		for _, c := range changes() {
			t.Run(c.name, func(t *testing.T) {
				o := finished()
				o.changes = true
				r, d := routed(t, hook, translations()[1], o)
				udp := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
				if err := udp.Exchange(300, 1000, time.Second).Whole(); err != nil {
					t.Fatal(err)
				}
				if fast := d.Status().Stats.FastPackets().Packets; fast < 500 {
					t.Fatalf("only %d of 600 packets were fast: %+v", fast, d.Status().Stats)
				}
				udp.Start(1000)
				flow := packet.Tuple{Src: udp.Local(), Dst: r.Path(false, port).Dial, Proto: packet.UDP}
				c.do(t, r, flow)
				changed := time.Now()
				// The flow must have been quiet for a while before we believe that it has stopped.
				testkit.MustAwait(t, 5*time.Second, func() error {
					if quiet := time.Since(later(udp.Stats().Up.Last, changed)); quiet < 3*inForce {
						return fmt.Errorf("the last packet came %v ago: %+v", quiet, d.Status().Stats)
					}
					return nil
				})
				if took := udp.Stats().Up.Last.Sub(changed); took > inForce {
					t.Errorf("packets went the old way for %v: %+v", took, d.Status().Stats)
				}
				udp.Stop(0)
			})
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
