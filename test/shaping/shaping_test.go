// Package shaping sends real flows through routers whose egress device limits their rate, and compares the fast path
// with the slow one: rate, class, and the qdisc's own counters.
package shaping

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// Where servers listen: the rules put each into a class of its own.
const (
	voicePort = 5004
	bulkPort  = 5005
)

// ruleset hands established flows over.
func (o options) ruleset() string {
	return `flush ruleset
table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { r0, r1 }
	}
` + o.tables + `
	chain classify {
		type filter hook forward priority mangle; policy accept;
` + o.classify + `
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
		ct state new accept
	}
}
table inet nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname r1 masquerade
	}
}
`
}

// options say what stands on the router.
type options struct {
	testkit.RouterOptions
	tc       string // commands of tc(8) that shape r1, one a line
	classify string // rules of a forward chain in front of the one with `flow add`
	tables   string // sets and maps that they look into
	// kernelFlowtable leaves `flow add` to the kernel where it has flowtables; else the ruleset is lowered.
	kernelFlowtable bool
}

// shaped is the topology, its r1 shaped and its ruleset loaded.
func shaped(t *testing.T, o options) *testkit.Router {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	// No neighbour discovery: what the qdisc counts is what the test sends.
	o.PermanentNeighbours = true
	r := testkit.NewRouter(t, o.RouterOptions)
	script(t, r, o.tc)
	load(t, r, o.ruleset(), o.kernelFlowtable)
	return r
}

// script runs commands of tc(8) on the router.
func script(t *testing.T, r *testkit.Router, commands string) {
	t.Helper()
	if out, err := r.Router.Pipe(commands, "tc", "-batch", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func load(t *testing.T, r *testkit.Router, text string, kernelFlowtable bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"load", file}
	if !kernelFlowtable {
		args = append(args, "--lower")
	}
	if out, err := daemon.Command(t, r.Router, args...); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
}

// start runs the daemon with both devices at the hook.
func start(t *testing.T, r *testkit.Router, hook engine.Hook) *daemon.Daemon {
	t.Helper()
	return daemon.Start(t, r.Router, "--device=r0="+string(hook), "--device=r1="+string(hook))
}

// counters are what a qdisc or a class has let through, and dropped.
type counters struct {
	Bytes, Packets, Drops uint64 // bytes of frames, without their check sequence
}

func (c counters) since(e counters) counters {
	return counters{c.Bytes - e.Bytes, c.Packets - e.Packets, c.Drops - e.Drops}
}

func countersOf(s *netlink.ClassStatistics) counters {
	if s == nil {
		return counters{}
	}
	return counters{s.Basic.Bytes, uint64(s.Basic.Packets), uint64(s.Queue.Drops)}
}

// root are the counters of a device's root qdisc. Read by netlink: the tc(8) of Debian 12 prints no JSON for classes,
// and for hfsc something else.
func root(t *testing.T, ns *testkit.NS, dev string) counters {
	t.Helper()
	var found *netlink.QdiscAttrs
	onDevice(t, ns, dev, func(l netlink.Link) error {
		qs, err := netlink.QdiscList(l)
		for _, q := range qs {
			if q.Attrs().Parent == netlink.HANDLE_ROOT {
				found = q.Attrs()
			}
		}
		return err
	})
	if found == nil {
		t.Fatalf("%s has no root qdisc", dev)
	}
	return countersOf((*netlink.ClassStatistics)(found.Statistics))
}

// arrived is what the server's device has received.
func arrived(t *testing.T, r *testkit.Router) (c counters) {
	t.Helper()
	onDevice(t, r.Server, r.S0.Name, func(l netlink.Link) error {
		s := l.Attrs().Statistics
		c = counters{Bytes: s.RxBytes, Packets: s.RxPackets}
		return nil
	})
	return c
}

// classes are the counters of r1's classes, by "MAJOR:MINOR".
func classes(t *testing.T, r *testkit.Router) map[string]counters {
	t.Helper()
	out := map[string]counters{}
	onDevice(t, r.Router, r.R1.Name, func(l netlink.Link) error {
		cs, err := netlink.ClassList(l, 0)
		for _, c := range cs {
			major, minor := netlink.MajorMinor(c.Attrs().Handle)
			out[fmt.Sprintf("%x:%x", major, minor)] = countersOf(c.Attrs().Statistics)
		}
		return err
	})
	return out
}

func onDevice(t *testing.T, ns *testkit.NS, dev string, f func(netlink.Link) error) {
	t.Helper()
	err := ns.Do(func() error {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return f(l)
	})
	if err != nil {
		t.Fatalf("read counters of %s: %v", dev, err)
	}
}

// others is how many packets hosts and routers send of themselves during a test: multicast listener reports.
const others = 20

// share is how much of the packets between two readings was fast, 0 to 1.
func share(before, after engine.Status) float64 {
	fast := after.Stats.FastPackets().Packets - before.Stats.FastPackets().Packets
	slow := after.Stats.Slow.Packets - before.Stats.Slow.Packets
	return float64(fast) / float64(max(fast+slow, 1))
}

// unharmed fails the test where datagrams were changed or came twice. Where the sockets of a busy machine lose some, the
// counters of the router still say where each went.
func unharmed(t *testing.T, s testkit.UDPStats) {
	t.Helper()
	if s.Up.Corrupt+s.Up.Duplicated+s.Down.Corrupt+s.Down.Duplicated > 0 || len(s.Errors) > 0 {
		t.Errorf("udp: %+v", s)
	}
}

// minShare is the least that must be fast of an established flow.
const minShare = 0.95

// settled sends a flow's datagrams until they are fast, fewer than any shaper here drops.
func settled(t *testing.T, d *daemon.Daemon, udp *testkit.UDPFlow) {
	t.Helper()
	const some, gently = 100, 300
	testkit.MustAwait(t, 20*time.Second, func() error {
		before := d.Status()
		if err := udp.Exchange(some, gently, time.Second).Whole(); err != nil {
			return err
		}
		if s := share(before, d.Status()); s < minShare {
			return fmt.Errorf("%.1f %% of the flow's packets are fast: %+v", 100*s, d.Status().Stats)
		}
		return nil
	})
}
