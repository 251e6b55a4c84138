//go:build guest

package paths

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Loads are small: the CPU is emulated. Each direction of each flow has this many packets a second for less than a second.
const (
	rate    = 200
	packets = 120
	warm    = 12              // packets before the count begins: a flow is learned from its first ones
	learned = 5 * time.Second // by then a flow that can be fast is
	quiet   = 5 * time.Second // an emulated machine is late in everything
)

// traffic is one flow through the router with what it sends.
type traffic struct {
	name  string // of its counter: "udp4", "tcp6"
	proto string
	local netip.AddrPort
	udp   *testkit.UDPFlow
	tcp   *testkit.TCPPair
}

// share says who forwarded a flow's packets. An emulated machine may retransmit, so shares are not exact.
type share struct {
	ours, kernel, slow uint64
	hook               engine.Hook // of ours
}

func (s share) String() string {
	return fmt.Sprintf("%d fast, %d by the kernel's flowtable, %d slow", s.ours, s.kernel, s.slow)
}

// tier names who forwarded nearly all.
func (s share) tier() string {
	enough := func(n uint64) bool { return n*10 >= (s.ours+s.kernel+s.slow)*8 }
	switch {
	case enough(s.ours):
		return fmt.Sprintf("fast (%s)", s.hook)
	case enough(s.kernel):
		return "kernel flowtable"
	case enough(s.slow):
		return "slow"
	}
	return "mixed"
}

// open starts TCP and UDP in both families from one host to another, and gives each its first packets.
func (w *world) open(t *testing.T, from, to *host) []*traffic {
	t.Helper()
	families := []bool{false, true}
	if from.site.only4 || to.site.only4 {
		families = families[:1]
	}
	var all []*traffic
	for _, six := range families {
		path := testkit.Path{Client: from.ns, Dial: netip.AddrPortFrom(to.addr(six), 5001), Server: to.ns}
		suffix := map[bool]string{false: "4", true: "6"}[six]
		udp := testkit.OpenUDP(t, path, testkit.UDPOptions{})
		all = append(all, &traffic{name: "udp" + suffix, proto: "udp", local: udp.Local(), udp: udp})
		tcp, err := testkit.ConnectTCP(t, path, 0)
		if err != nil {
			t.Fatalf("six=%v: %v", six, err)
		}
		all = append(all, &traffic{name: "tcp" + suffix, proto: "tcp", local: tcp.Local(), tcp: tcp})
	}
	w.exchange(t, all, warm)
	return all
}

// exchange sends n packets each way on every flow at once, and compares all payload.
func (w *world) exchange(t *testing.T, all []*traffic, n int) {
	t.Helper()
	var g errgroup.Group
	for _, f := range all {
		g.Go(func() error {
			err := f.send(n)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Errorf("%v: %s", err, w.counters())
	}
}

func (f *traffic) send(n int) error {
	if f.udp != nil {
		s := f.udp.Exchange(n, rate, quiet)
		// A sender that was late sends a burst, and may be moved to the other CPU in the middle of it: on the slow
		// path, too, veth then delivers by two queues.
		s.Up.Reordered, s.Down.Reordered = 0, 0
		return s.Whole()
	}
	const size = 100
	_, err := f.tcp.Transfer(testkit.Load{Up: int64(n * size), Down: int64(n * size), Rate: rate, Size: size, Timeout: time.Minute})
	return err
}

// sent returns how many packets the flow's ends have sent so far.
func (f *traffic) sent(t testing.TB) uint64 {
	t.Helper()
	if f.udp != nil {
		s := f.udp.Stats()
		return s.Sent + s.Up.Received
	}
	var n uint64
	for _, c := range []end{{f.tcp.Client}, {f.tcp.Server}} {
		segments, err := c.segments()
		if err != nil {
			t.Fatal(err)
		}
		n += segments
	}
	return n
}

// ours returns how many packets of the flow the fast path has carried.
func (f *traffic) ours(flows []engine.Flow) (n uint64, ready int, hook engine.Hook) {
	for _, e := range flows {
		if e.Proto != f.proto || e.Src != f.local && e.NATDst != f.local {
			continue
		}
		n += e.Packets
		if e.State == "ready" {
			ready++
			hook = e.Hook
		}
	}
	return n, ready, hook
}

// measure lets every flow send and says who forwarded it, by the flow's name.
func (w *world) measure(t *testing.T, all []*traffic) map[string]share {
	t.Helper()
	type count struct{ sent, ours uint64 }
	read := func() (map[string]uint64, map[string]count, map[string]engine.Hook) {
		flows, counts, hooks := w.d.Flows(), map[string]count{}, map[string]engine.Hook{}
		for _, f := range all {
			n, _, hook := f.ours(flows)
			counts[f.name], hooks[f.name] = count{f.sent(t), n}, hook
		}
		return w.forwarded(t), counts, hooks
	}
	slowBefore, before, _ := read()
	w.exchange(t, all, packets)
	slowAfter, after, hooks := read()
	shares := map[string]share{}
	for _, f := range all {
		s := share{ours: after[f.name].ours - before[f.name].ours, slow: slowAfter[f.name] - slowBefore[f.name], hook: hooks[f.name]}
		if sent := after[f.name].sent - before[f.name].sent; sent > s.ours+s.slow {
			s.kernel = sent - s.ours - s.slow
		}
		shares[f.name] = s
	}
	return shares
}

// awaitReady gives the flows packets until all that can be fast are.
func (w *world) awaitReady(t *testing.T, all []*traffic) {
	t.Helper()
	err := testkit.Await(learned, func() error {
		flows := w.d.Flows()
		for _, f := range all {
			if _, ready, _ := f.ours(flows); ready < 2 {
				w.exchange(t, all, warm)
				return fmt.Errorf("%s is not ready in both directions", f.name)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v: %s", err, w.counters())
	}
}

// counters says what the program has counted, and what keeps devices slow; shortly, since a failure may say it often.
func (w *world) counters() string {
	var b strings.Builder
	s := w.d.Status()
	fmt.Fprintf(&b, "fast %v, slow %v", s.Stats.Fast, s.Stats.Slow)
	for _, r := range s.Stats.Reasons {
		fmt.Fprintf(&b, ", %s %d", r.Code, r.Packets)
	}
	for _, d := range s.Devices {
		if d.Hook == engine.Off {
			fmt.Fprintf(&b, "; %s: %s", d.Name, d.Reason.Code)
		}
	}
	return b.String()
}
