package engine_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/packet"
)

func filter(t *testing.T, src, dst, port, proto string) engine.Filter {
	t.Helper()
	f, err := engine.ParseFilter(src, dst, port, proto)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A filter means a flow by either direction and on either side of NAT, but never by a mixture of two tuples.
func TestFilterMeansAFlowByEitherDirectionAndEitherSideOfNAT(t *testing.T) {
	ap := netip.MustParseAddrPort
	// 10.0.1.2:1000 asks the router's port 8000, which goes on as 198.51.100.1:4000 to 198.51.100.2:80.
	up := engine.Flow{
		Proto: "tcp", Src: ap("10.0.1.2:1000"), Dst: ap("10.0.1.1:8000"),
		NATSrc: ap("198.51.100.1:4000"), NATDst: ap("198.51.100.2:80"),
	}
	down := engine.Flow{Proto: "tcp", Src: up.NATDst, Dst: up.NATSrc, NATSrc: up.Dst, NATDst: up.Src}
	six := engine.Flow{Proto: "udp", Src: ap("[2001:db8::1]:53"), Dst: ap("[2001:db8::2]:99"), NATSrc: ap("[2001:db8::1]:53"), NATDst: ap("[2001:db8::2]:99")}
	for _, c := range []struct {
		src, dst, port, proto string
		four, six             bool
	}{
		{"", "", "", "", true, true},
		{"10.0.1.2", "", "", "", true, false},
		{"", "10.0.1.2", "", "", true, false},
		{"198.51.100.2", "", "", "", true, false},
		{"", "198.51.100.0/24", "", "", true, false},
		{"10.0.0.0/8", "10.0.0.0/8", "", "", true, false},
		{"10.0.1.2", "10.0.1.1", "8000", "tcp", true, false},
		{"10.0.1.1", "10.0.1.2", "1000", "", true, false},
		{"198.51.100.2", "198.51.100.1", "4000", "", true, false},
		{"10.0.1.2", "198.51.100.2", "", "", false, false}, // one from each side
		{"10.0.1.2", "", "80", "", false, false},           // likewise
		{"10.0.1.3", "", "", "", false, false},
		{"", "", "81", "", false, false},
		{"", "", "", "udp", false, true},
		{"2001:db8::2", "", "53", "", false, true},
		{"0.0.0.0/0", "", "", "", true, false},
		{"", "::/0", "", "", false, true},
		{"2001:db8::/127", "", "", "", false, true},
		{"2001:db8::4/126", "", "", "", false, false},
	} {
		f := filter(t, c.src, c.dst, c.port, c.proto)
		if f.Match(up) != c.four || f.Match(down) != c.four || f.Match(six) != c.six {
			t.Errorf("%s: flow %v, its answers %v, want %v; IPv6 %v, want %v", f, f.Match(up), f.Match(down), c.four, f.Match(six), c.six)
		}
		tuples := func(l engine.Flow) bool {
			return f.MatchTuples(packet.Tuple{Src: l.Src, Dst: l.Dst, Proto: packet.TCP}, packet.Tuple{Src: l.NATSrc, Dst: l.NATDst, Proto: packet.TCP})
		}
		if tuples(up) != c.four || tuples(down) != c.four {
			t.Errorf("%s: tuples say otherwise than the flow", f)
		}
	}
}

func TestFilterReadsAsASentence(t *testing.T) {
	for want, f := range map[string]engine.Filter{
		"all flows": {},
		"tcp from 10.0.0.0/8 to 192.0.2.1 port 443": filter(t, "10.1.2.3/8", "192.0.2.1", "443", "tcp"),
		"from 2001:db8::/32":                        filter(t, "2001:db8::/32", "", "", ""),
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
}

func TestFlushTakesFlowsOutOfTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		one, other := tuple("10.0.0.1:1", "10.0.1.1:53"), tuple("10.0.0.2:2", "10.0.1.1:53")
		r.datapath.SetLive(
			engine.Activity{Conntrack: 1, Tuple: one}, engine.Activity{Conntrack: 1, Tuple: one.Reverse()},
			engine.Activity{Conntrack: 2, Tuple: other},
		)
		r.run(t)
		got, err := r.Flush(t.Context(), filter(t, "10.0.0.1", "", "", ""))
		if want := (engine.Flushed{Flows: 1, Directions: 2}); err != nil || got != want {
			t.Errorf("flushed %+v, %v, want %+v", got, err, want)
		}
		left, err := r.Flows(t.Context(), engine.Filter{})
		if err != nil || len(left) != 1 || left[0].Src != other.Src {
			t.Errorf("left: %+v, %v", left, err)
		}
	})
}

// The order matters: what is flushed before the hold is there would be learned again.
func TestHoldComesBeforeTheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.datapath.SetLive(engine.Activity{Conntrack: 1, Tuple: tuple("10.0.0.1:1", "10.0.1.1:53")})
		r.run(t)
		f := filter(t, "", "", "53", "tcp")
		got, err := r.Hold(t.Context(), f, time.Minute)
		if want := (engine.Flushed{Flows: 1, Directions: 1}); err != nil || got != want {
			t.Errorf("flushed %+v, %v, want %+v", got, err, want)
		}
		if did := r.operator.Take(); did != "hold tcp port 53\nflush tcp port 53\nflush tcp port 53" {
			t.Errorf("did:\n%s", did)
		}
		holds, err := r.Holds(t.Context())
		if want := []engine.Hold{{Filter: f, Left: engine.Seconds(time.Minute)}}; err != nil || !slices.Equal(holds, want) {
			t.Errorf("holds %+v, %v", holds, err)
		}
	})
}

func TestHoldThatDoesNotFitFlushesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		for i, port := range []string{"1", "2", "1"} {
			if _, err := r.Hold(t.Context(), filter(t, "", "", port, ""), time.Minute); err != nil {
				t.Errorf("hold %d: %v", i, err)
			}
		}
		r.operator.Take()
		if _, err := r.Hold(t.Context(), filter(t, "", "", "3", ""), time.Minute); !errors.Is(err, engine.ErrHoldsFull) {
			t.Errorf("one too many: %v", err)
		}
		if did := r.operator.Take(); did != "hold port 3" {
			t.Errorf("did:\n%s", did)
		}
		for _, d := range []time.Duration{0, -time.Second, time.Millisecond, 25 * time.Hour} {
			if _, err := r.Hold(t.Context(), engine.Filter{}, d); err == nil {
				t.Errorf("hold for %v is taken", d)
			}
		}
	})
}

func TestReleaseEndsHoldsThatHaveTheConditions(t *testing.T) {
	for name, c := range map[string]struct {
		release engine.Filter
		left    string
	}{
		"all":             {engine.Filter{}, ""},
		"by port":         {filter(t, "", "", "443", ""), "from 10.1.0.0/16 60s\n"},
		"by wider prefix": {filter(t, "10.0.0.0/8", "", "", ""), "tcp port 443 60s\n"},
		"by its prefix":   {filter(t, "10.1.0.0/16", "", "", ""), "tcp port 443 60s\n"},
		"by longer one":   {filter(t, "10.1.1.0/24", "", "", ""), "tcp port 443 60s\nfrom 10.1.0.0/16 60s\n"},
		"by other end":    {filter(t, "", "10.0.0.0/8", "", ""), "tcp port 443 60s\nfrom 10.1.0.0/16 60s\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig().run(t)
				for _, f := range []engine.Filter{filter(t, "", "", "443", "tcp"), filter(t, "10.1.0.0/16", "", "", "")} {
					if _, err := r.Hold(t.Context(), f, time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				before, _ := r.Holds(t.Context())
				n, err := r.Release(t.Context(), c.release)
				after, _ := r.Holds(t.Context())
				if err != nil || n != len(before)-len(after) || r.operator.String() != c.left {
					t.Errorf("released %d (%v), left\n%s", n, err, r.operator)
				}
			})
		})
	}
}

// refusedFlow is one sample.
func refusedFlow(src, code string, in, out uint32, ago time.Duration, samples uint64) engine.Refused {
	return engine.Refused{
		Proto: "tcp", Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort("10.0.1.1:53"),
		InIndex: in, OutIndex: out, Code: code, Text: code + " text", Advice: "do", Ago: engine.Seconds(ago), Samples: samples,
	}
}

func TestRefusedFlowsAreTheLatestLastingAndNotCarriedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(enginetest.Veth("r1"))
		closing := refusedFlow("10.0.0.4:1", "tcp-flags", 2, 3, 0, 9)
		closing.Passing = true
		r.operator.SetRefused(
			refusedFlow("10.0.0.1:1", "one-way", 2, 3, time.Second, 5),
			refusedFlow("10.0.0.1:1", "not-liberal", 2, 3, 2*time.Second, 50), // was before
			refusedFlow("10.0.0.2:1", "ipsec", 2, 9, time.Second, 7),          // the device is gone
			refusedFlow("10.0.0.3:1", "ipsec", 2, 3, 2*time.Minute, 7),        // long ago
			closing, refusedFlow("10.0.0.4:1", "one-way", 2, 3, time.Second, 5),
			refusedFlow("10.0.0.5:1", "one-way", 2, 3, time.Second, 5), // carried by now
		)
		r.datapath.SetLive(engine.Activity{Conntrack: 1, Tuple: tuple("10.0.0.5:1", "10.0.1.1:53")})
		r.run(t)
		got, err := r.Refused(t.Context(), filter(t, "10.0.1.1", "", "", ""))
		if err != nil {
			t.Fatal(err)
		}
		first, second := refusedFlow("10.0.0.2:1", "ipsec", 2, 9, time.Second, 7), refusedFlow("10.0.0.1:1", "one-way", 2, 3, time.Second, 5)
		first.In, second.In, second.Out = "r0", "r0", "r1"
		if diff := cmp.Diff([]engine.Refused{first, second}, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
		if none, err := r.Refused(t.Context(), filter(t, "192.0.2.1", "", "", "")); err != nil || len(none) != 0 {
			t.Errorf("of another address: %+v, %v", none, err)
		}
	})
}

func TestRefusedDeviceIsNamedWithWhatIsInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		filtered := enginetest.Veth("r0")
		filtered.Filters = []string{"tc filter pref 7 u32"}
		r.machine.AddLink(filtered)
		r.machine.AddLink(enginetest.Veth("r1"))
		r.machine.SetRules(flowtable("r0", "r1"))
		r.operator.SetRefused(
			refusedFlow("10.0.0.1:1", "device-refused", 2, 3, 0, 2), refusedFlow("10.0.0.2:1", "device-refused", 3, 4, 0, 1),
		)
		r.run(t)
		got, err := r.Refused(t.Context(), engine.Filter{})
		if err != nil || len(got) != 2 {
			t.Fatalf("refused %+v, %v", got, err)
		}
		want := device(t, r, "r0").Reason
		if d := cmp.Diff([]engine.Cause{{Device: "r0", Reason: want}}, got[0].Causes); d != "" || got[0].Text != want.Text || got[0].Advice != want.Advice {
			t.Errorf("%s\nflow %+v, want the reason %+v", d, got[0], want)
		}
		// Of a device that has just been taken up again nothing more is known than the datapath's own words.
		if got[1].Text != "device-refused text" || got[1].Causes != nil {
			t.Errorf("flow %+v", got[1])
		}
	})
}
