package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestFlowsAreCarriedThroughEveryNAT: what is sent arrives, at 1000 packets a second and more at least 95 % of the
// packets that are neither punts nor renewals are fast, and a close ends in TIME_WAIT.
func TestFlowsAreCarriedThroughEveryNAT(t *testing.T) {
	t.Parallel() // beside the idle connections: both wait most of the time
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		for _, n := range translations() {
			t.Run(n.name, func(t *testing.T) {
				t.Parallel()
				r, d := routed(t, hook, n, finished())
				for _, six := range []bool{false, true} {
					carryUDP(t, r, d, n, six)
					carryTCP(t, r, d, n, six)
				}
			})
		}
	})
}

func carryUDP(t *testing.T, r *testkit.Router, d *daemon.Daemon, n translation, six bool) {
	t.Helper()
	before := d.Status()
	udp := testkit.OpenUDP(t, n.path(r, six), testkit.UDPOptions{})
	if err := udp.Exchange(2000, 1500, 2*time.Second).Whole(); err != nil {
		t.Errorf("udp six=%v: %v", six, err)
	}
	udp.Close()
	share(t, fmt.Sprintf("udp six=%v", six), before, d.Status())
}

func carryTCP(t *testing.T, r *testkit.Router, d *daemon.Daemon, n translation, six bool) {
	t.Helper()
	before := d.Status()
	tcp, err := testkit.ConnectTCP(t, n.path(r, six), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tcp.Transfer(testkit.Load{Up: 150_000, Down: 150_000, Rate: 1500, Size: 100}); err != nil {
		t.Errorf("tcp six=%v: %v", six, err)
	}
	share(t, fmt.Sprintf("tcp six=%v", six), before, d.Status())
	entry := connection(t, r, tcp.Local())
	if err := tcp.Finish(5 * time.Second); err != nil {
		t.Errorf("close: %v", err)
	}
	awaitState(t, r, entry.Orig, conntrack.TCPTimeWait)
}

// share compares two readings of the counters.
func share(t *testing.T, what string, before, after engine.Status) {
	t.Helper()
	fast := after.Stats.FastPackets().Packets - before.Stats.FastPackets().Packets
	slow := uint64(0)
	for _, code := range []string{"no-entry", "not-ready", "ended", "mac", "lease-expired", "generation", "conntrack-gone", "recycled", "too-long"} {
		slow += daemon.Reason(after, code) - daemon.Reason(before, code)
	}
	if fast < 1000 || fast*100 < (fast+slow)*95 {
		t.Errorf("%s: %d packets fast and %d slow that are neither punts nor renewals: %+v", what, fast, slow, after.Stats)
	}
}

// connection is the conntrack entry of a client's socket.
func connection(t *testing.T, r *testkit.Router, local netip.AddrPort) conntrack.Entry {
	t.Helper()
	var found conntrack.Entry
	withConntrack(t, r, func(c *conntrack.Conn) {
		for e, err := range c.Dump(conntrack.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Orig.Src == local && e.Orig.Proto == packet.TCP {
				found = e
			}
		}
	})
	if found.TCP == nil {
		t.Fatalf("no conntrack entry from %s", local)
	}
	return found
}

func withConntrack(t *testing.T, r *testkit.Router, f func(*conntrack.Conn)) {
	t.Helper()
	var c *conntrack.Conn
	if err := r.Router.Do(func() (err error) {
		c, err = conntrack.Open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // read from only
	f(c)
}

func awaitState(t *testing.T, r *testkit.Router, orig packet.Tuple, want ...conntrack.TCPState) {
	t.Helper()
	withConntrack(t, r, func(c *conntrack.Conn) {
		testkit.MustAwait(t, 5*time.Second, func() error {
			e, err := c.Get(orig)
			if err != nil {
				return err
			}
			if slices.Contains(want, e.TCP.State) {
				return nil
			}
			return fmt.Errorf("the connection is %v instead of %v", e.TCP.State, want)
		})
	})
}

// TestResetReachesThePeer, at once and after the sequence numbers have moved by more than 2 GiB: conntrack, which saw a
// packet a second, must neither call the RST invalid nor keep the connection.
func TestResetReachesThePeer(t *testing.T) {
	const gigabyte = 1 << 30
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		for _, bytes := range []int64{100_000, 3 * gigabyte} {
			t.Run(fmt.Sprintf("after %d bytes", bytes), func(t *testing.T) {
				r, d := routed(t, hook, translations()[1], options{RouterOptions: testkit.RouterOptions{NoChecksumOffload: hook == engine.XDP}})
				tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tcp.Transfer(testkit.Load{Up: bytes, Down: 100_000, Timeout: time.Minute}); err != nil {
					t.Fatal(err)
				}
				if fast := d.Status().Stats.FastPackets().Bytes; bytes > gigabyte && fast < uint64(bytes)/10*9 {
					t.Errorf("only %d of %d bytes were fast: %+v", fast, bytes, d.Status().Stats)
				}
				entry := connection(t, r, tcp.Local())
				if err := tcp.Reset(tcp.Client, 5*time.Second); err != nil {
					t.Fatalf("the server did not see the reset: %v; %+v", err, d.Status().Stats)
				}
				withConntrack(t, r, func(c *conntrack.Conn) {
					e, err := c.Get(entry.Orig)
					// Closed, or liberal and about to time out: RST with BE_LIBERAL gives the timeout of CLOSE, 10 s.
					if err == nil && e.TCP.State != conntrack.TCPClose && e.Timeout > 11*time.Second {
						t.Errorf("after the reset the entry is %v with %v left", e.TCP.State, e.Timeout)
					}
				})
			})
		}
	})
}

// TestIdleConnectionKeepsItsTimeout: half a minute after its last packet a connection has the timeout of days that the
// slow path would have given it.
func TestIdleConnectionKeepsItsTimeout(t *testing.T) {
	t.Parallel()
	const idle, want = 30 * time.Second, 400_000 * time.Second
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		t.Parallel()
		r, d := routed(t, hook, translations()[1], finished())
		tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tcp.Transfer(testkit.Load{Up: 300_000, Down: 300_000, Rate: 1500, Size: 100}); err != nil {
			t.Fatal(err)
		}
		if fast := d.Status().Stats.FastPackets().Packets; fast < 1000 {
			t.Fatalf("only %d packets were fast", fast)
		}
		entry := connection(t, r, tcp.Local())
		last := time.Now()
		testkit.MustAwait(t, 2*idle, func() error {
			if left := idle - time.Since(last); left > 0 {
				return fmt.Errorf("idle for %v more", left)
			}
			return nil
		})
		withConntrack(t, r, func(c *conntrack.Conn) {
			e, err := c.Get(entry.Orig)
			if err != nil {
				t.Fatal(err)
			}
			if e.Timeout < want {
				t.Errorf("%v left after %v idle, want more than %v; %v", e.Timeout, idle, want, e.TCP)
			}
		})
		if err := tcp.Exchange(10_000, 5*time.Second); err != nil {
			t.Errorf("the connection did not survive being idle: %v", err)
		}
	})
}

// TestDefaultChecksumOffload: endpoints as they come, with TSO and checksums left to the device. At XDP their packets
// may be slow; nowhere may a connection break.
func TestDefaultChecksumOffload(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		for _, n := range translations()[:2] {
			t.Run(n.name, func(t *testing.T) {
				r, d := routed(t, hook, n, options{})
				for _, six := range []bool{false, true} {
					tcp, err := testkit.ConnectTCP(t, n.path(r, six), 0)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := tcp.Transfer(testkit.Load{Up: 20 << 20, Down: 20 << 20, Timeout: 30 * time.Second}); err != nil {
						t.Errorf("six=%v: %v: %+v", six, err, d.Status().Stats)
					}
					if err := tcp.Finish(5 * time.Second); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
}
