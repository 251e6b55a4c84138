//go:build guest

package paths

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// event is something that happens to a running flow.
type event struct {
	feature string
	result  string // for the matrix
	run     func(t *testing.T, w *world)
}

const obeyed = "followed at once; within the lease without a daemon"

func events() []event {
	return []event{
		{"bridge: flood to an unknown destination", "slow: copied, then fast (tc)", flood},
		{"bridge: port stops forwarding (STP state)", obeyed, blocked},
		{"bridge: MAC moves to another port (roaming)", obeyed, roams},
		{"bond: failover", "followed", failover},
		{"policy routing: switch to another uplink", obeyed, switchOver},
		{"MTU 9000, 1500, 1492 with path MTU discovery", "ICMP reaches the sender, then fast (tc)", discovered},
		{"MTU 9000, 1500, 1492 without", "fragments as the kernel makes them; the rest fast (tc)", fragmented},
	}
}

// port4 is a port of a host's IPv4 address, port6 of its IPv6 one.
func (h *host) port4(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.addr(false), port) }
func (h *host) port6(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.addr(true), port) }

// flood: while the bridge sends a flow's packets out of all its ports, nothing may be learned of it; when it knows the port
// again, the flow becomes fast.
func flood(t *testing.T, w *world) {
	sw := w.sites["sw"]
	for _, port := range sw.listed {
		w.router.Run("bridge", "link", "set", "dev", port, "learning", "off")
	}
	w.router.Run("ip", "link", "set", sw.top, "type", "bridge", "fdb_flush")
	from, to, other := w.host("lan"), w.host("sw/1"), w.host("sw")
	before := w.d.Status()
	l := w.start(t, from, to, to.port4(6001), false)
	hears := func() uint64 { return received(t, other) }
	heard, sent := hears(), l.udp.Stats().Sent
	testkit.MustAwait(t, 20*time.Second, func() error {
		if n := l.udp.Stats().Sent - sent; n < 3*liveRate {
			return fmt.Errorf("only %d packets were sent", n)
		}
		return nil
	})
	n := l.udp.Stats().Sent - sent
	if copies := hears() - heard; copies < n*9/10 {
		t.Errorf("the other port had %d copies of %d packets: %s", copies, n, w.counters())
	}
	if ours, ready, _ := l.proto.ours(w.d.Flows()); ours > 0 || ready > 0 {
		t.Errorf("%d packets of the flow were fast while it was flooded: %s", ours, w.counters())
	}
	if reasons := w.reasons(before, to); reasons[0] != "copied" {
		t.Errorf("the reasons are %v, want copied first: %s", reasons, w.counters())
	}
	for _, port := range sw.listed {
		w.router.Run("bridge", "link", "set", "dev", port, "learning", "on")
	}
	l.awaitFast(t)
	heard = hears()
	l.end(t)
	if copies := hears() - heard; copies > 10 { // ARP and ND
		t.Errorf("the other port still had %d copies", copies)
	}
}

// blocked: a port that does not forward gets nothing more, as from the kernel's own bridge.
func blocked(t *testing.T, w *world) {
	from, to := w.host("lan"), w.host("sw/1")
	l := w.start(t, from, to, to.port6(6002), true)
	took := l.stops(t, withDaemon, func() { w.portState(1, portDisabled) })
	if took > withDaemon {
		t.Errorf("packets went through the blocked port for %v: %s", took, w.counters())
	}
	w.portState(1, portForwarding)
	l.awaitFast(t)
}

// STP states of a bridge's port. Without STP on the bridge the kernel turns the others, such as "blocking", into
// "forwarding" at once (br_port_state_selection of net/bridge/br_stp.c); frames stop at a disabled port just the same.
const (
	portDisabled   = "0"
	portForwarding = "3"
)

func (w *world) portState(port int, state string) {
	w.router.Run("bridge", "link", "set", "dev", w.sites["sw"].listed[port], "state", state)
}

// roams: a station that has moved gets its packets at its new port.
func roams(t *testing.T, w *world) {
	from, to := w.host("lan"), w.host("roam")
	l := w.start(t, from, to, to.port4(6003), true)
	for _, port := range []int{1, 0} {
		gap := l.interruption(t, 3*time.Second, func() { to.moves(port) })
		if gap > withDaemon {
			t.Errorf("nothing came back for %v after the station had moved to port %d: %s", gap, port, w.counters())
		}
		l.awaitFast(t)
	}
	l.end(t)
}

// failover: the bond's active member loses its carrier.
func failover(t *testing.T, w *world) {
	from, to := w.host("bond"), w.host("lan")
	l := w.start(t, from, to, to.port4(6004), true)
	gap := l.interruption(t, 3*time.Second, func() { w.router.IP("link set bond0 down") })
	if gap > withDaemon {
		t.Errorf("nothing came back for %v after the active member had gone: %s", gap, w.counters())
	}
	l.awaitFast(t)
	w.router.IP("link set bond0 up")
	l.end(t)
}

// switchOver: a rule sends the client by another uplink.
func switchOver(t *testing.T, w *world) {
	from, to := w.host("lan"), w.host("multi")
	for _, six := range []bool{false, true} {
		at := netip.AddrPortFrom(behindUplinks(six), 6005)
		family := map[bool]string{false: "-4", true: "-6"}[six]
		w.router.Run("ip", family, "rule", "add", "from", from.addr(six).String(), "lookup", "101", "priority", "100")
		l := w.start(t, from, to, at, true)
		w.router.Run("ip", family, "rule", "add", "from", from.addr(six).String(), "lookup", "102", "priority", "99")
		changed := time.Now()
		first := &host{site: to.site, ns: to.ns, dev: "eth0"}
		var last time.Time
		n := received(t, first)
		testkit.MustAwait(t, 20*time.Second, func() error {
			if now := received(t, first); now > n+1 { // ARP and ND
				n, last = now, time.Now()
			}
			if silent := time.Since(later(last, changed)); silent < time.Second {
				return fmt.Errorf("the first uplink had packets %v ago", silent)
			}
			return nil
		})
		if took := last.Sub(changed); took > withDaemon {
			t.Errorf("six=%v: packets went by the old uplink for %v: %s", six, took, w.counters())
		}
		l.awaitFast(t)
		l.end(t)
	}
}

// without: the daemon is dead; the leases alone see to it that what the kernel would do happens in time.
func without(t *testing.T, w *world) {
	lan, station, port := w.host("lan"), w.host("roam"), w.host("sw/1")
	moving := w.start(t, lan, station, station.port6(6006), true)
	stopping := w.start(t, lan, port, port.port4(6007), true)
	w.d.Kill9()
	if gap := moving.interruption(t, withoutDaemon+time.Second, func() { station.moves(1) }); gap > withoutDaemon {
		t.Errorf("nothing came back for %v after the station had moved", gap)
	}
	if took := stopping.stops(t, withoutDaemon, func() { w.portState(1, portDisabled) }); took > withoutDaemon {
		t.Errorf("packets went through the blocked port for %v", took)
	}
	w.portState(1, portForwarding)
	moving.end(t)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
