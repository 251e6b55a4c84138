//go:build guest

package paths

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// tables are things that rulesets do with the kernel's own flowtable.
func tables() []event {
	return []event{
		{"flowtable with `counter`", fastTC, counting},
		{"flowtable with `flags offload` on devices that refuse it", "loaded without the flag, then fast (tc)", hardware},
		{"several flowtables", fastTC, several},
		{"device names with a wildcard, before Linux 6.16", "loaded with the devices that match, then fast (tc)", wildcards},
		{"the kernel's entry and connection outlive their timeouts, and end with them", "kept by renewals", timeouts},
		{"`nft flush ruleset`, and loaded again", "nothing lost, then fast (tc)", flushed},
		{"`nft -f` 100 times", "no connection or packet lost more than without", reloaded},
	}
}

// within replaces the world's ruleset for the time of a test.
func (w *world) within(t *testing.T, ruleset string) nft.Report {
	t.Helper()
	t.Cleanup(func() { w.load(w.ruleset()) })
	var r nft.Report
	if err := json.Unmarshal([]byte(w.load(ruleset, "--json")), &r); err != nil {
		t.Fatalf("read report of load: %v", err)
	}
	return r
}

// fast sends along a path and wants it carried by the fast path.
func (w *world) fast(t *testing.T, from, to string) {
	t.Helper()
	all := w.open(t, w.host(from), w.host(to))
	w.awaitReady(t, all)
	for name, s := range w.measure(t, all) {
		if s.tier() != fastTC {
			t.Errorf("%s from %s to %s is %s: %s; %s", name, from, to, s.tier(), s, w.counters())
		}
	}
	for _, f := range all {
		f.close(t)
	}
}

func counting(t *testing.T, w *world) {
	w.within(t, strings.Replace(w.ruleset(), "hook ingress priority 0\n", "hook ingress priority 0\n\t\tcounter\n", 1))
	w.fast(t, "lan", "wan")
}

// hardware: veth has no hardware; the flag is given up and the report says so, for this flowtable alone.
func hardware(t *testing.T, w *world) {
	r := w.within(t, strings.Replace(w.ruleset(), "hook ingress priority 0\n", "hook ingress priority 0\n\t\tflags offload\n", 1))
	if len(r.Flowtables) != 1 || r.Flowtables[0].Refused == "" {
		t.Errorf("the report does not say that `flags offload` was given up: %+v", r)
	}
	w.fast(t, "lan", "wan")
}

// several: each rule has a flowtable of its own.
func several(t *testing.T, w *world) {
	w.within(t, twoTables(w.ruleset()))
	testkit.MustAwait(t, 20*time.Second, func() error {
		if n := len(w.d.Status().Flowtables); n != 2 {
			return fmt.Errorf("status lists %d flowtables", n)
		}
		return nil
	})
	w.fast(t, "lan", "wan")
	w.fast(t, "vlan", "qinq")
}

// twoTables lists lan and wan in one flowtable and two others in a second one.
func twoTables(ruleset string) string {
	head, rest, _ := strings.Cut(ruleset, "\tflowtable f1 {")
	_, rest, _ = strings.Cut(rest, "\t}\n")
	const both = `	flowtable f1 {
		hook ingress priority 0
		devices = { "lan", "wan" }
	}
	flowtable f2 {
		hook ingress priority 0
		devices = { "vlan", "qinq" }
	}
`
	const one = "\t\tmeta l4proto { tcp, udp } ct state established flow add @f1\n"
	const two = "\t\tiifname { \"lan\", \"wan\" } meta l4proto { tcp, udp } ct state established flow add @f1\n" +
		"\t\tiifname { \"vlan.10\", \"qinq.100.10\" } meta l4proto { tcp, udp } ct state established flow add @f2\n"
	return strings.Replace(head+both+rest, one, two, 1)
}

// wildcards: kernels take patterns from 6.16 on; before, the devices that match stand for one.
func wildcards(t *testing.T, w *world) {
	r := w.within(t, strings.Replace(w.ruleset(), `"lan"`, `"la*"`, 1))
	if len(r.Flowtables) != 1 || !slices.Equal(r.Flowtables[0].Patterns, []string{"la*"}) || !slices.Contains(r.Flowtables[0].Devices, "lan") {
		t.Errorf("the report does not say what stands for the pattern: %+v", r)
	}
	w.fast(t, "lan", "wan")
}

// Timeouts of a test that does not last for minutes, seconds.
const (
	tableTimeout  = 3 // without a packet, the kernel's flowtable gives a flow back to conntrack
	streamTimeout = 9 // and without one for so long in all, conntrack forgets it
)

// timeouts: while the fast path carries a flow, its renewals keep the kernel's entry and the connection; when it has ended,
// both end as they would have without us.
func timeouts(t *testing.T, w *world) {
	for name, value := range map[string]int{"nf_flowtable_udp_timeout": tableTimeout, "nf_flowtable_tcp_timeout": tableTimeout, "nf_conntrack_udp_timeout_stream": streamTimeout} {
		w.router.Sysctl("net/netfilter/"+name, fmt.Sprint(value))
	}
	defer func() {
		for name, value := range map[string]int{"nf_flowtable_udp_timeout": 30, "nf_flowtable_tcp_timeout": 30, "nf_conntrack_udp_timeout_stream": 120} {
			w.router.Sysctl("net/netfilter/"+name, fmt.Sprint(value))
		}
	}()
	lan, wan := w.host("lan"), w.host("wan")
	l := w.start(t, lan, wan, wan.port4(6020), true)
	tcp, err := testkit.ConnectTCP(t, testkit.Path{Client: lan.ns, Dial: wan.port4(6021), Server: wan.ns}, 0)
	if err != nil {
		t.Fatal(err)
	}
	talk := &traffic{name: "tcp", proto: "tcp", local: tcp.Local(), tcp: tcp}
	w.exchange(t, []*traffic{talk}, warm)
	w.awaitReady(t, []*traffic{talk})
	idle := time.Now()

	awaitTime(t, idle.Add(2*tableTimeout*time.Second))
	l.awaitFast(t)
	if e, err := w.connection(l.udp.Local().Port(), packet.UDP); err != nil || e.Status&conntrack.Offload == 0 {
		t.Errorf("after twice its timeout the kernel's entry is gone: %v, %v", e, err)
	}
	l.end(t)
	quietSince := time.Now()
	// TCP was idle all the time: back in conntrack's hands, with a timeout of days.
	e, err := w.connection(tcp.Local().Port(), packet.TCP)
	if err != nil || !e.HasTimeout || e.Timeout < 400_000*time.Second || e.TCP.State != conntrack.TCPEstablished {
		t.Errorf("the idle connection is %v, %v", e, err)
	}
	w.exchange(t, []*traffic{talk}, warm)
	w.awaitReady(t, []*traffic{talk})
	talk.close(t)
	testkit.MustAwait(t, 20*time.Second, func() error {
		e, err := w.connection(tcp.Local().Port(), packet.TCP)
		if err == nil && (!e.HasTimeout || e.Timeout > 2*time.Minute) {
			return fmt.Errorf("after its close the connection is %v", e)
		}
		return nil
	})
	testkit.MustAwait(t, time.Until(quietSince)+(streamTimeout+20)*time.Second, func() error {
		if e, err := w.connection(l.udp.Local().Port(), packet.UDP); err == nil {
			return fmt.Errorf("%v after its last packet the flow is still %v", time.Since(quietSince), e)
		}
		return nil
	})
}

func awaitTime(t *testing.T, when time.Time) {
	t.Helper()
	testkit.MustAwait(t, time.Until(when)+time.Minute, func() error {
		if left := time.Until(when); left > 0 {
			return fmt.Errorf("%v too early", left)
		}
		return nil
	})
}

// connection is the conntrack entry of a client's port.
func (w *world) connection(port uint16, proto uint8) (found conntrack.Entry, err error) {
	missing := fmt.Errorf("no conntrack entry from port %d", port)
	err = w.router.Do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // read from only
		for e, err := range c.Dump(conntrack.Filter{}) {
			if err != nil {
				return err
			}
			if e.Orig.Src.Port() == port && e.Orig.Proto == proto {
				found, missing = e, nil
			}
		}
		return missing
	})
	return found, err
}

// flushed: without rules everything passes, slowly; with them, flows are fast again.
func flushed(t *testing.T, w *world) {
	l := w.start(t, w.host("vlan"), w.host("lan"), w.host("lan").port6(6022), true)
	w.router.Run("nft", "flush", "ruleset")
	testkit.MustAwait(t, 20*time.Second, func() error {
		if n := len(w.d.Status().Devices); n > 0 {
			return fmt.Errorf("%d devices are in use without a flowtable", n)
		}
		return nil
	})
	w.load(w.ruleset())
	l.awaitFast(t)
	if s := l.udp.Stop(quiet); s.Down.Received < s.Sent-s.Sent/100 {
		t.Errorf("of %d packets %d came back", s.Sent, s.Down.Received)
	}
	l.udp.Close()
}

const reloads = 100

// reloaded loads the ruleset again and again under traffic. What the kernel alone loses, w.alone has counted before the
// program was started.
func reloaded(t *testing.T, w *world) {
	got := w.reload(t)
	t.Logf("lost without us: %d packets, with us: %d", w.alone, got)
	if got > w.alone {
		t.Errorf("%d packets were lost, without us %d: %s", got, w.alone, w.counters())
	}
}

// reload loads the ruleset a hundred times while connections of each kind talk, and returns how many packets were lost. A
// broken connection fails the test.
func (w *world) reload(t *testing.T) (lost uint64) {
	t.Helper()
	all := w.open(t, w.host("vlan"), w.host("wan"))
	for _, f := range all {
		if f.udp != nil {
			f.udp.Start(liveRate)
		}
	}
	done := make(chan error, 1)
	go func() { done <- w.reloadAll(t.TempDir()) }()
	for ended := false; !ended; {
		for _, f := range all {
			if f.tcp == nil {
				continue
			}
			if err := f.tcp.Exchange(2000, time.Minute); err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		case <-time.After(time.Second / liveRate): // the CPU is for nft, too
		}
	}
	for _, f := range all {
		if f.udp == nil {
			f.close(t)
			continue
		}
		s := f.udp.Stop(quiet)
		lost += s.Sent - s.Down.Received
		f.udp.Close()
	}
	return lost
}

// reloadAll loads the ruleset as firewall frontends do: each time in one transaction that flushes and loads. One process
// does it all, because an emulated machine needs longer to start one than the kernel to commit.
func (w *world) reloadAll(dir string) error {
	file := filepath.Join(dir, "ruleset.nft")
	if err := os.WriteFile(file, []byte(w.ruleset()), 0o600); err != nil {
		return err
	}
	said, err := w.router.Pipe(strings.Repeat(fmt.Sprintf("include %q\n", file), reloads), "nft", "-i")
	if err == nil && said != "" {
		err = fmt.Errorf("nft said %s", said)
	}
	return err
}
