//go:build guest

package paths

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// How soon a change has to be obeyed. The promises are 200 ms with a daemon and 2 s without; an emulated machine is late.
const (
	late          = 600 * time.Millisecond
	withDaemon    = 200*time.Millisecond + late
	withoutDaemon = 2*time.Second + late
)

const liveRate = 100 // packets a second and direction of a flow that something happens to

// live is a UDP flow that runs while something happens.
type live struct {
	w     *world
	udp   *testkit.UDPFlow
	proto *traffic
}

// start opens a flow and, unless it is to stay slow, waits until it is fast; then it sends all the time.
func (w *world) start(t *testing.T, from, to *host, at netip.AddrPort, fast bool) *live {
	t.Helper()
	path := testkit.Path{Client: from.ns, Dial: at, Server: to.ns}
	l := &live{w: w, udp: testkit.OpenUDP(t, path, testkit.UDPOptions{})}
	l.proto = &traffic{name: "udp", proto: "udp", local: l.udp.Local(), udp: l.udp}
	all := []*traffic{l.proto}
	w.exchange(t, all, warm)
	if fast {
		w.awaitReady(t, all)
	}
	l.udp.Start(liveRate)
	return l
}

// awaitFast waits until the fast path carries the flow both ways.
func (l *live) awaitFast(t *testing.T) {
	t.Helper()
	before, _, _ := l.proto.ours(l.w.d.Flows())
	err := testkit.Await(20*time.Second, func() error {
		n, ready, _ := l.proto.ours(l.w.d.Flows())
		if ready < 2 || n < before+liveRate/2 {
			return fmt.Errorf("%d directions are ready, %d packets were fast", ready, n-before)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v: %s", err, l.w.counters())
	}
}

// interruption does something and returns the longest time, until so long after it, in which nothing came back to the
// client.
func (l *live) interruption(t *testing.T, watch time.Duration, do func()) time.Duration {
	t.Helper()
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		n, last, worst := l.udp.Stats().Down.Received, time.Now(), time.Duration(0)
		for {
			select {
			case <-done:
				longest <- worst
				return
			case <-time.After(2 * time.Millisecond):
			}
			now := time.Now()
			worst = max(worst, now.Sub(last))
			if got := l.udp.Stats().Down.Received; got != n {
				n, last = got, now
			}
		}
	}()
	do()
	end := time.Now().Add(watch)
	testkit.MustAwait(t, 2*watch, func() error {
		if left := time.Until(end); left > 0 {
			return fmt.Errorf("%v too early", left)
		}
		return nil
	})
	close(done)
	return <-longest
}

// stops does something and returns for how long packets went on arriving at the server.
func (l *live) stops(t *testing.T, limit time.Duration, do func()) time.Duration {
	t.Helper()
	do()
	changed := time.Now()
	testkit.MustAwait(t, limit+20*time.Second, func() error {
		last := l.udp.Stats().Up.Last
		if last.Before(changed) {
			last = changed
		}
		// It must have been quiet for a while before we believe that it has stopped.
		if silent := time.Since(last); silent < 3*time.Second/2 {
			return fmt.Errorf("the last packet came %v ago", silent)
		}
		return nil
	})
	last := l.udp.Stats().Up.Last
	return max(0, last.Sub(changed))
}

// end stops the flow; what is on its way arrives.
func (l *live) end(t *testing.T) {
	t.Helper()
	s := l.udp.Stop(quiet)
	if c := s.Up.Corrupt + s.Down.Corrupt; c > 0 {
		t.Errorf("%d packets were changed on the way", c)
	}
	l.udp.Close()
}

// received returns how many frames a host's device has received.
func received(t testing.TB, h *host) uint64 {
	t.Helper()
	var n uint64
	err := h.ns.Do(func() error {
		link, err := netlink.LinkByName(h.dev)
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		t.Fatalf("read counters of %s: %v", h.dev, err)
	}
	return n
}
