package oracle

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// The tests of this file have no daemon: only the lease enforces a change. It is shortened to make them quick.
const (
	due   = 200 * time.Millisecond
	hard  = 400 * time.Millisecond
	slack = 150 * time.Millisecond // of a noisy machine: the frames on their way, the reader's delay
)

// change is something an administrator or the network does to a running flow.
type change struct {
	name string
	do   func(b *box)
	// old says that a frame went the way the flow had before.
	old func(b *box, f testkit.Frame, h packet.Header) bool
	// via is where the flow goes on, the new way: "uplink", "server", or "" when it must end.
	via string
}

func atServer(*box, testkit.Frame, packet.Header) bool { return true }

func changes() []change {
	newMAC := "02:00:00:00:02:77"
	return []change{
		{name: "drop rule in front", old: atServer, do: func(b *box) {
			b.r.Router.Run("nft", "insert", "rule", "inet", "handover", "forward", "udp", "dport", "2001", "drop")
		}},
		{name: "ruleset flushed, policy drop", old: atServer, do: func(b *box) {
			b.r.Router.NFTables("flush ruleset\ntable inet x {\n chain f {\n type filter hook forward priority 0; policy drop\n }\n}\n")
		}},
		{name: "conntrack entry deleted, new flows dropped", old: atServer, do: func(b *box) {
			b.r.Router.Run("nft", "insert", "rule", "inet", "handover", "forward", "ct", "state", "new", "drop")
			if err := b.ct.Delete(b.tuple(nats()[0], packet.UDP, false, 1)); err != nil {
				b.t.Fatal(err)
			}
		}},
		{name: "route moved", old: atServer, via: "uplink", do: func(b *box) {
			b.r.Router.Run("ip", "route", "replace", "198.51.100.2/32", "via", "192.0.2.2", "dev", b.r2.Name)
		}},
		{name: "policy routing by mark", old: atServer, via: "uplink", do: func(b *box) {
			b.r.Router.Run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", b.r2.Name, "table", "100")
			b.r.Router.Run("ip", "rule", "add", "fwmark", "7", "table", "100")
			b.r.Router.NFTables("table inet m {\n chain p {\n type filter hook prerouting priority -150; policy accept\n iifname r0 meta mark set 7\n }\n}\n")
		}},
		{name: "neighbour's MAC changed", via: "server", do: func(b *box) {
			b.r.Router.Run("ip", "neigh", "replace", "198.51.100.2", "lladdr", newMAC, "dev", "r1", "nud", "permanent")
		}, old: func(_ *box, _ testkit.Frame, h packet.Header) bool { return h.Dst.String() != newMAC }},
		{name: "route blackholed", old: atServer, do: func(b *box) {
			b.r.Router.Run("ip", "route", "add", "blackhole", "198.51.100.2/32")
		}},
		{name: "device down", old: atServer, do: func(b *box) {
			b.r.Router.Run("ip", "link", "set", "r1", "down")
		}},
		{name: "forwarding switched off", old: atServer, do: func(b *box) {
			b.r.Router.Sysctl("net/ipv4/conf/r0/forwarding", "0")
		}},
	}
}

func TestChangeIsInForceWithinTheLeaseWithoutDaemon(t *testing.T) {
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for _, c := range changes() {
			t.Run(fmt.Sprintf("%s/%s", hook, c.name), func(t *testing.T) {
				t.Parallel() // they wait most of the time
				b := makeBox(t, setup{hook: hook, cfg: datapath.Config{Due: due, Hard: hard}, prepare: secondUplink})
				b.watchChange(c)
			})
		}
	}
}

// secondUplink gives the router another device, r2, whose far side the test plays.
func secondUplink(b *box) {
	b.t.Helper()
	far := testkit.Dev{NS: testkit.NewNS(b.t, "other"), Name: "o0", MAC: packet.MAC{2, 0, 0, 0, 3, 2}}
	near := testkit.Dev{NS: b.r.Router, Name: "r2", MAC: packet.MAC{2, 0, 0, 0, 3, 1}}
	testkit.Join(b.t, &near, &far)
	b.r.Router.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "r2")
	b.r.Router.Run("ip", "neigh", "add", "192.0.2.2", "lladdr", far.MAC.String(), "dev", "r2", "nud", "permanent")
	b.r2, b.other = near, testkit.OpenPort(b.t, far, testkit.PortOptions{})
}

func (b *box) watchChange(c change) {
	b.t.Helper()
	tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
	for range 2 {
		for side, tup := range tuples {
			b.one(side, packet.New(tup, make([]byte, 100)))
		}
	}
	s := packet.New(tuples[client], make([]byte, 100))
	b.macs(&s, client)
	stop := b.stream(s.Build(), time.Millisecond)
	defer stop()
	match := testkit.OfTuple(tuples[client])
	// The flow runs, over several renewals, and is fast.
	before := b.fast()
	end := time.Now().Add(2 * hard)
	seen := 0
	for time.Now().Before(end) {
		if _, err := b.ports[server].Recv(deadline, match); err != nil {
			b.t.Fatalf("the flow stopped before the change: %v; %s", err, b.reasons())
		}
		seen++
	}
	if fast := b.fast() - before; int(fast) < seen*9/10 {
		b.t.Fatalf("only %d of %d packets were fast: %s", fast, seen, b.reasons())
	}
	defer b.own()()
	c.do(b)
	limit := time.Now().Add(hard + slack)
	for time.Now().Before(limit) {
		_, _ = b.ports[server].Recv(time.Until(limit), match) // the old way, still allowed
	}
	if _, err := b.ports[server].Drain(); err != nil {
		b.t.Fatal(err)
	}
	end = time.Now().Add(2 * hard)
	for time.Now().Before(end) {
		f, err := b.ports[server].Recv(time.Until(end), match)
		if err != nil {
			break
		}
		h, err := packet.Decode(f.Data)
		if err != nil {
			b.t.Fatal(err)
		}
		if c.old(b, f, h) {
			b.t.Fatalf("a packet went the old way after the hard limit: %s", b.reasons())
		}
	}
	port := b.ports[server]
	switch c.via {
	case "":
		return
	case "uplink":
		port = b.other
	}
	if _, err := port.Recv(deadline, match); err != nil {
		b.t.Fatalf("nothing goes the new way: %v; %s", err, b.reasons())
	}
}

// With a daemon's heartbeat leases are longer, a bump still ends them in 100 ms, and when the heartbeat stops the
// short limit is back.
func TestHeartbeatLengthensLeasesAndItsEndShortensThem(t *testing.T) {
	const many = 1 << 20 // enough for the longest lease
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		t.Run(hook.String(), func(t *testing.T) {
			b := newBoxWith(t, hook, "", datapath.Config{MaxFlows: 256, Due: due, Hard: hard})
			tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
			plain(b, tuples)
			s := packet.New(tuples[client], make([]byte, 40))
			b.macs(&s, client)
			defer b.stream(s.Build(), time.Millisecond)()
			if err := b.d.Heartbeat(many, time.Hour); err != nil {
				t.Fatal(err)
			}
			renewals := b.count(reason.EntryRenewal)
			b.pause("several short leases", 3*hard)
			if n := b.count(reason.EntryRenewal) - renewals; n > 1 {
				t.Errorf("%d renewals in spite of a long lease", n)
			}
			done := b.own()
			b.r.Router.Run("nft", "insert", "rule", "inet", "handover", "forward", "udp", "dport", "2001", "drop")
			done()
			b.pause("the end of the heartbeat and of a short lease", 2*time.Second+hard-3*hard+slack)
			before := b.fast()
			b.pause("more packets", hard)
			if n := b.fast() - before; n != 0 {
				t.Errorf("%d packets were fast after the heartbeat had ended: %s", n, b.reasons())
			}
		})
	}
}

// stream sends a frame again and again until stopped.
func (b *box) stream(frame []byte, every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				ended <- nil
				return
			case <-tick.C:
			}
			if err := b.ports[client].Send(frame); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() {
		close(done)
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	}
}
