package link

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// watched reads events of one namespace in order.
type watched struct {
	t      *testing.T
	events <-chan Event
	cancel context.CancelFunc
}

func (p *pair) watch(t *testing.T) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := p.h.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		for range ch { // closed once both readers have ended
		}
	})
	return &watched{t, ch, cancel}
}

// until returns the first event that matches, and all that came before it.
func (w *watched) until(what string, match func(Event) bool) (Event, []Event) {
	w.t.Helper()
	var before []Event
	timeout := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				w.t.Fatalf("watch ended before %s; seen %v", what, before)
			}
			if match(e) {
				return e, before
			}
			before = append(before, e)
		case <-timeout:
			w.t.Fatalf("no %s within 5 s; seen %v", what, before)
		}
	}
}

// barrier makes a change of its own and returns the events that came before it.
func (w *watched) barrier(p *pair) []Event {
	w.t.Helper()
	p.router.Run("ip", "route", "add", "blackhole", "203.0.113.77/32")
	_, before := w.until("the barrier", func(e Event) bool {
		return e.Kind == RouteChanged && e.Prefix == netip.MustParsePrefix("203.0.113.77/32") && !e.Gone
	})
	p.router.Run("ip", "route", "del", "blackhole", "203.0.113.77/32")
	w.until("the barrier's end", func(e Event) bool { return e.Kind == RouteChanged && e.Gone })
	return before
}

func isKind(k Kind) func(Event) bool { return func(e Event) bool { return e.Kind == k } }

func TestWatchRoutesRulesAndAddresses(t *testing.T) {
	p := newPair(t)
	p.router.Run("ip", "addr", "add", "10.0.1.1/24", "dev", "r0")
	index := p.device("r0").Ifindex
	w := p.watch(t)
	for _, c := range []struct {
		cmd  []string
		want Event
	}{
		{[]string{"ip", "route", "add", "192.0.2.0/24", "via", "10.0.1.2"}, Event{Kind: RouteChanged, Ifindex: index, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Table: 254}},
		{[]string{"ip", "route", "replace", "192.0.2.0/24", "via", "10.0.1.3"}, Event{Kind: RouteChanged, Ifindex: index, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Table: 254}},
		{[]string{"ip", "route", "del", "192.0.2.0/24"}, Event{Kind: RouteChanged, Ifindex: index, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Table: 254, Gone: true}},
		{[]string{"ip", "route", "add", "default", "via", "10.0.1.2", "table", "1000"}, Event{Kind: RouteChanged, Ifindex: index, Prefix: netip.MustParsePrefix("0.0.0.0/0"), Table: 1000}},
		{[]string{"ip", "-6", "route", "add", "2001:db8::/32", "dev", "r0"}, Event{Kind: RouteChanged, Ifindex: index, Prefix: netip.MustParsePrefix("2001:db8::/32"), Table: 254}},
		{[]string{"ip", "rule", "add", "fwmark", "7", "table", "1000"}, Event{Kind: RuleChanged}},
		{[]string{"ip", "-6", "rule", "add", "fwmark", "7", "table", "1000"}, Event{Kind: RuleChanged}},
		{[]string{"ip", "rule", "del", "fwmark", "7"}, Event{Kind: RuleChanged, Gone: true}},
		{[]string{"ip", "nexthop", "add", "id", "5", "via", "10.0.1.2", "dev", "r0"}, Event{Kind: RouteChanged}},
		{[]string{"ip", "addr", "add", "10.0.9.1/24", "dev", "r0"}, Event{Kind: AddrChanged, Ifindex: index, Prefix: netip.MustParsePrefix("10.0.9.1/24")}},
		{[]string{"ip", "addr", "del", "10.0.9.1/24", "dev", "r0"}, Event{Kind: AddrChanged, Ifindex: index, Prefix: netip.MustParsePrefix("10.0.9.1/24"), Gone: true}},
		{[]string{"tc", "qdisc", "add", "dev", "r0", "clsact"}, Event{Kind: TCChanged, Ifindex: index}},
	} {
		p.router.Run(c.cmd[0], c.cmd[1:]...)
		w.until(c.want.String(), func(e Event) bool { return e.String() == c.want.String() })
	}
}

func TestWatchLinks(t *testing.T) {
	p := newPair(t)
	index := p.device("r0").Ifindex
	w := p.watch(t)
	link := func(up, running, gone bool) func(Event) bool {
		return func(e Event) bool {
			return e.Kind == LinkChanged && e.Ifindex == index && e.Up == up && e.Running == running && e.Gone == gone
		}
	}
	p.peer.Run("ip", "link", "set", "c0", "down")
	w.until("carrier lost", link(true, false, false))
	p.peer.Run("ip", "link", "set", "c0", "up")
	w.until("carrier back", link(true, true, false))
	p.router.Run("ip", "link", "set", "r0", "down")
	w.until("r0 down", link(false, false, false))
	p.router.Run("ip", "link", "set", "r0", "up")
	w.until("r0 up", link(true, true, false))
	p.router.Run("ip", "link", "set", "r0", "mtu", "1300")
	w.until("new mtu", link(true, true, false))
	w.barrier(p)

	// Promiscuous mode is announced, and means nothing to us.
	p.router.Script(`
		ip link set r0 promisc on
		ip link set r0 promisc off`)
	for _, e := range w.barrier(p) {
		if e.Kind == LinkChanged {
			t.Errorf("promiscuous mode: %s", e)
		}
	}

	// Leaving a bridge looks like a deletion to a careless reader.
	p.router.Script(`
		ip link add br0 type bridge
		ip link set r0 master br0
		ip link set r0 nomaster`)
	for _, e := range w.barrier(p) {
		if e.Kind == LinkChanged && e.Ifindex == index && e.Gone {
			t.Errorf("left a bridge: %s", e)
		}
	}
	p.router.Run("ip", "link", "del", "r0")
	w.until("r0 gone", link(false, false, true))
}

func TestWatchSeesXDPTargetAppear(t *testing.T) {
	p := newPair(t)
	d := p.device("r0")
	peer := open(t, p.peer)
	gro, err := peer.Feature("c0", GRO)
	if err != nil {
		t.Fatal(err)
	}
	w := p.watch(t)
	if err := peer.SetFeature("c0", GRO, !gro.On); err != nil {
		t.Fatal(err)
	}
	if !d.XDP.Known {
		return
	}
	w.until("changed xdp features of r0", func(e Event) bool { return e.Kind == XDPChanged && e.Ifindex == d.Ifindex })
	if err := p.h.SetFeature("r0", RxVLAN, false); err != nil {
		t.Fatal(err)
	}
	w.until("changed features of r0", func(e Event) bool { return e.Kind == LinkChanged && e.Ifindex == d.Ifindex })
}

func TestWatchNeighborsSwallowsStateChanges(t *testing.T) {
	p := newPair(t)
	index := p.device("r0").Ifindex
	p.router.Script(`
		ip addr add 10.0.1.1/24 dev r0
		ip neigh add 10.0.1.2 lladdr 02:00:00:00:00:02 dev r0 nud reachable
		ip neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev r0 nud reachable`)
	w := p.watch(t)
	neigh := func(old, mac string, failed, gone bool) func(Event) bool {
		return func(e Event) bool {
			return e.Kind == NeighChanged && e.Ifindex == index && e.IP == netip.MustParseAddr("10.0.1.2") &&
				e.Old.String() == old && e.New.String() == mac && e.Failed == failed && e.Gone == gone
		}
	}
	// State only, and a neighbor nobody knew.
	p.router.Script(`
		ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:02 dev r0 nud stale
		ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:02 dev r0 nud reachable
		ip neigh add 10.0.1.3 lladdr 02:00:00:00:00:03 dev r0 nud stale`)
	for _, e := range w.barrier(p) {
		if e.Kind == NeighChanged {
			t.Errorf("nothing changed, but %s", e)
		}
	}
	p.router.Script("ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:12 dev r0 nud reachable")
	w.until("new address", neigh("02:00:00:00:00:02", "02:00:00:00:00:12", false, false))
	p.router.Script("ip neigh replace 10.0.1.2 dev r0 nud failed")
	w.until("failure", neigh("02:00:00:00:00:12", "", true, false))
	p.router.Script("ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:22 dev r0 nud reachable")
	w.until("recovery at another address", neigh("02:00:00:00:00:12", "02:00:00:00:00:22", false, false))
	p.router.Script("ip neigh del 10.0.1.2 dev r0")
	// ip neigh del fails the neighbor first, then removes it: one event is enough.
	if e, _ := w.until("removal", isKind(NeighChanged)); !e.Failed && !e.Gone {
		t.Errorf("removal: %s", e)
	}
}

func TestWatchNeighborAnnouncedByARP(t *testing.T) {
	p := newPair(t)
	p.router.Run("ip", "addr", "add", "10.0.1.1/24", "dev", "r0")
	p.peer.Run("ip", "addr", "add", "10.0.1.2/24", "dev", "c0")
	p.peer.Run("ping", "-c1", "-W2", "10.0.1.1")
	w := p.watch(t)
	p.peer.Run("ip", "link", "set", "c0", "address", "02:00:00:00:00:42")
	p.peer.Run("ping", "-c1", "-W2", "10.0.1.1")
	e, _ := w.until("the moved neighbor", func(e Event) bool {
		return e.Kind == NeighChanged && e.IP == netip.MustParseAddr("10.0.1.2") && e.New.String() == "02:00:00:00:00:42"
	})
	if e.Old == nil || e.Failed || e.Gone {
		t.Errorf("%s", e)
	}
}

func TestWatchBridgeForwardingEntryMoves(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add br0 type bridge
		ip link add v0 type veth peer name v1
		ip link set r0 master br0
		ip link set v0 master br0
		bridge fdb add 02:00:00:00:00:aa dev r0 master static`)
	r0, v0, br0 := p.device("r0").Ifindex, p.device("v0").Ifindex, p.device("br0").Ifindex
	w := p.watch(t)
	p.router.Script("bridge fdb replace 02:00:00:00:00:aa dev v0 master static")
	e, _ := w.until("a moved entry", func(e Event) bool { return e.Kind == FDBChanged && e.Old.String() == "02:00:00:00:00:aa" })
	if e.OldPort != r0 || e.Ifindex != v0 || e.Bridge != br0 || e.Gone {
		t.Errorf("%s, want port %d -> %d of %d", e, r0, v0, br0)
	}
	p.router.Script("bridge fdb del 02:00:00:00:00:aa dev v0 master")
	w.until("a removed entry", func(e Event) bool { return e.Kind == FDBChanged && e.Gone && e.Old.String() == "02:00:00:00:00:aa" })
}

func TestWatchReportsLostAndGoesOn(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip addr add 10.0.1.1/24 dev r0
		ip neigh add 10.0.1.2 lladdr 02:00:00:00:00:02 dev r0 nud reachable`)
	// A subscription with the smallest buffer there is.
	out := make(chan Event)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &watcher{ctx: ctx, out: out}
	if err := w.open(p.h); err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, w.close)
	raw, err := w.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	// While nobody reads: far more than fits, and in the midst of it a change that is dropped.
	batch := ""
	for i := range 200 {
		if i == 100 {
			batch += "neigh replace 10.0.1.2 lladdr 02:00:00:00:00:12 dev r0 nud reachable\n"
		}
		batch += "route add blackhole 203.0.113.77/32\nroute del blackhole 203.0.113.77/32\n"
	}
	if _, err := p.router.Pipe(batch, "ip", "-batch", "-"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); w.run() }()
	r := &watched{t: t, events: out}
	r.until("lost", isKind(Lost))
	r.until("lost again, after the fresh dump", isKind(Lost))
	// The dump knows the address that was set meanwhile: going back is a change from it.
	p.router.Script("ip neigh replace 10.0.1.2 lladdr 02:00:00:00:00:02 dev r0 nud reachable")
	e, _ := r.until("a change after recovery", isKind(NeighChanged))
	if e.Old.String() != "02:00:00:00:00:12" || e.New.String() != "02:00:00:00:00:02" {
		t.Errorf("%s", e)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("watch does not end with its context")
	}
}

func TestWatchIsOfItsOwnNamespaceAndEndsWithItsContext(t *testing.T) {
	p := newPair(t)
	w := p.watch(t)
	p.peer.Run("ip", "route", "add", "blackhole", "198.51.100.1/32")
	for _, e := range w.barrier(p) {
		if e.Kind == RouteChanged && e.Prefix.Addr().String() == "198.51.100.1" {
			t.Errorf("heard from another namespace: %s", e)
		}
	}
	w.cancel()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case _, ok := <-w.events:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("channel still open")
		}
	}
}

func TestWatchBridgePorts(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add br0 type bridge
		ip link add v0 type veth peer name v1
		ip link set br0 up
		ip link set v0 up
		ip link set v1 up`)
	r0, v0 := p.device("r0").Ifindex, p.device("v0").Ifindex
	w := p.watch(t)
	of := func(k Kind, ifindex uint32) func(Event) bool {
		return func(e Event) bool { return e.Kind == k && e.Ifindex == ifindex && !e.Gone }
	}
	p.router.Script("ip link set r0 master br0")
	w.until("r0 is a port", of(LinkChanged, r0))
	p.router.Script("ip link set v0 master br0")
	w.until("v0 is a port", of(LinkChanged, v0))
	w.barrier(p)

	const blocking = "4" // BR_STATE_BLOCKING
	p.router.Script("bridge link set dev r0 state " + blocking)
	w.until("r0 blocked", of(PortChanged, r0))
	p.router.Script("bridge link set dev r0 state 3")
	w.until("r0 forwards", of(PortChanged, r0))
	p.router.Script("bridge link set dev r0 isolated on")
	w.until("r0 isolated", of(PortChanged, r0))
	w.barrier(p)

	p.router.Script("ip link set v0 nomaster")
	w.until("v0 is a port no more", of(LinkChanged, v0))
}

func TestWatchStationThatMovesToAnotherPort(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add br0 type bridge
		ip link add v0 type veth peer name v1
		ip link set r0 master br0
		ip link set v0 master br0
		ip link set br0 up
		ip link set v0 up
		ip link set v1 up`)
	r0, v0, br0 := p.device("r0").Ifindex, p.device("v0").Ifindex, p.device("br0").Ifindex
	station := packet.MAC{2, 0, 0, 0, 0, 0xaa}
	send := func(ns *testkit.NS, dev string) {
		t.Helper()
		index, err := ns.Ifindex(dev)
		if err != nil {
			t.Fatal(err)
		}
		// A frame of the experimental Ethertype, to everybody.
		frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, station[:]...)
		frame = append(frame, 0x88, 0xb5)
		port := testkit.OpenPort(t, testkit.Dev{NS: ns, Name: dev, Index: index}, testkit.PortOptions{})
		if err := port.Send(append(frame, make([]byte, 46)...)); err != nil {
			t.Fatal(err)
		}
	}
	w := p.watch(t)
	seen := func(e Event) bool {
		return e.Kind == FDBChanged && e.Old.String() == net.HardwareAddr(station[:]).String()
	}
	send(p.peer, "c0")
	if e, _ := w.until("the station at r0", seen); e.Ifindex != r0 || e.Bridge != br0 || e.OldPort != 0 {
		t.Errorf("%s", e)
	}
	send(p.peer, "c0")
	for _, e := range w.barrier(p) {
		if seen(e) {
			t.Errorf("heard of where it was already: %s", e)
		}
	}
	send(p.router, "v1")
	if e, _ := w.until("the station at v0", seen); e.Ifindex != v0 || e.Bridge != br0 || e.OldPort != r0 || e.Gone {
		t.Errorf("%s", e)
	}
	p.router.Script("ip link set br0 type bridge fdb_flush")
	w.until("the station forgotten", func(e Event) bool { return seen(e) && e.Gone })
}

func TestWatchDevicesComeGoAndChangeNames(t *testing.T) {
	p := newPair(t)
	r0 := p.device("r0").Ifindex
	w := p.watch(t)
	p.router.Script("ip link add link r0 name mv0 type macvlan")
	w.until("a device on r0", func(e Event) bool { return e.Kind == LinkChanged && e.Name == "mv0" && !e.Gone })
	p.router.Script(`
		ip link set r0 down
		ip link set r0 name wan
		ip link set wan up`)
	w.until("the new name", func(e Event) bool { return e.Kind == LinkChanged && e.Ifindex == r0 && e.Name == "wan" && e.Up })
	p.router.Script("ip link del mv0")
	w.until("mv0 gone", func(e Event) bool { return e.Kind == LinkChanged && e.Name == "mv0" && e.Gone })
}
