package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	ti "github.com/ti-mo/conntrack"

	"github.com/nft-offload/nft-offload/internal/packet"
)

func TestSetFlagsChangesOnlyTheFlags(t *testing.T) {
	e := newEnv(t)
	for _, host := range []string{"10.0.2.2", "fd00:2::2"} {
		t.Run(host, func(t *testing.T) {
			c := e.connect(host, 7000)
			before := e.await(c.orig, "acknowledged", func(x Entry) bool { return !x.TCP.Unacknowledged() })
			if before.TCP.State != TCPEstablished || !before.Status.Has(Assured|Confirmed|SeenReply) {
				t.Fatalf("connection is not established: %s", before)
			}
			if before.TCP.WScaleOrig == 0 || before.TCP.WScaleReply == 0 || before.TCP.Liberal() {
				t.Fatalf("unsuitable for this test: %s", before)
			}
			if err := e.ct.SetFlags(c.orig, BeLiberal, BeLiberal|MaxACKSet); err != nil {
				t.Fatal(err)
			}
			want := *before.TCP
			want.FlagsOrig = want.FlagsOrig&^MaxACKSet | BeLiberal
			want.FlagsReply = want.FlagsReply&^MaxACKSet | BeLiberal
			after := e.get(c.orig)
			if *after.TCP != want {
				t.Errorf("after setting: %s, want %+v", after, want)
			}
			if after.Status != before.Status || after.Mark != before.Mark || after.Labels != before.Labels || before.Timeout-after.Timeout > time.Minute {
				t.Errorf("more than the flags changed: before %s, after %s", before, after)
			}
			// Named by the other direction, and cleared again.
			if err := e.ct.SetFlags(c.orig.Reverse(), MaxACKSet, BeLiberal|MaxACKSet); err != nil {
				t.Fatal(err)
			}
			if after := e.get(c.orig); *after.TCP != *before.TCP {
				t.Errorf("after clearing: %s, want %s", after, before)
			}
		})
	}
}

func TestApplyReportsEachElement(t *testing.T) {
	e := newEnv(t)
	c := e.connect("10.0.2.2", 7000)
	gone := c.orig
	gone.Src = netip.AddrPortFrom(gone.Src.Addr(), 1)
	if _, err := e.ct.Get(gone); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of an unknown tuple: %v, want ErrNotFound", err)
	}
	if err := e.ct.Delete(gone); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of an unknown tuple: %v, want ErrNotFound", err)
	}
	if err := e.ct.SetFlags(gone, BeLiberal, BeLiberal); !errors.Is(err, ErrNotFound) {
		t.Errorf("set flags of an unknown tuple: %v, want ErrNotFound", err)
	}

	// More than one datagram, failures at both ends of each and a tuple that never leaves the process.
	var tuples []packet.Tuple
	for i := range 2*chunk + 3 {
		switch i {
		case 1:
			tuples = append(tuples, packet.Tuple{Proto: packet.TCP})
		case 0, chunk - 1, chunk, 2*chunk + 2:
			tuples = append(tuples, gone)
		default:
			tuples = append(tuples, c.orig)
		}
	}
	errs := e.ct.SetLiberal(tuples...)
	if len(errs) != len(tuples) {
		t.Fatalf("%d results for %d tuples", len(errs), len(tuples))
	}
	for i, err := range errs {
		switch {
		case tuples[i] == c.orig && err != nil:
			t.Errorf("element %d: %v", i, err)
		case tuples[i] == gone && !errors.Is(err, ErrNotFound):
			t.Errorf("element %d: %v, want ErrNotFound", i, err)
		case i == 1 && (err == nil || errors.Is(err, ErrNotFound)):
			t.Errorf("element %d: %v, want a complaint about the tuple", i, err)
		}
	}
	if x := e.get(c.orig); !x.TCP.Liberal() {
		t.Errorf("not liberal: %s", x)
	}
	if errs := e.ct.SetLiberal(c.orig, c.orig); errs != nil {
		t.Errorf("all well, but %v", errs)
	}
}

func TestUpdateRefusesWhatTheKernelWouldMisread(t *testing.T) {
	tcp := packet.Tuple{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2"), Proto: packet.TCP}
	udp := tcp
	udp.Proto = packet.UDP
	mixed := tcp
	mixed.Dst = netip.MustParseAddrPort("[fd00::1]:2")
	mapped := packet.Tuple{Src: netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), Dst: netip.MustParseAddrPort("[fd00::1]:2"), Proto: packet.TCP}
	icmp := tcp
	icmp.Proto = 1
	for name, u := range map[string]Update{
		"no address":          {Mask: BeLiberal, Orig: packet.Tuple{Proto: packet.TCP}},
		"mixed families":      {Mask: BeLiberal, Orig: mixed},
		"mapped address":      {Mask: BeLiberal, Orig: mapped},
		"flags on udp":        {Mask: BeLiberal, Orig: udp},
		"icmp":                {Timeout: time.Second, Orig: icmp},
		"fraction of seconds": {Timeout: 1500 * time.Millisecond, Orig: tcp},
		"negative timeout":    {Timeout: -time.Second, Orig: tcp},
		"endless timeout":     {Timeout: 1 << 62, Orig: tcp},
	} {
		if err := u.valid(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSetTimeoutWithFlagsInOneMessage(t *testing.T) {
	e := newEnv(t)
	c := e.connect("fd00:2::2", 7000)
	errs := e.ct.Apply([]Update{{Orig: c.orig, Flags: BeLiberal, Mask: BeLiberal, Timeout: 1234 * time.Second}})
	if errs != nil {
		t.Fatal(errs)
	}
	x := e.get(c.orig)
	if x.Timeout > 1234*time.Second || x.Timeout < 1200*time.Second || !x.TCP.Liberal() {
		t.Errorf("%s, want about 1234s and liberal", x)
	}
}

// BenchmarkSetLiberal reports connections a second; the table holds 20000.
func BenchmarkSetLiberal(b *testing.B) {
	const entries = 20000
	e := newEnv(b)
	var tm *ti.Conn
	if err := e.router.Do(func() (err error) { tm, err = ti.Dial(nil); return err }); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tm.Close() }()
	tuples := make([]packet.Tuple, entries)
	for i := range tuples {
		t := packet.Tuple{
			Src:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(2 + i%200)}), uint16(1024+i/200)),
			Dst:   netip.MustParseAddrPort("10.0.2.2:80"),
			Proto: packet.TCP,
		}
		tuples[i] = t
		f := ti.NewFlow(t.Proto, 0, t.Src.Addr(), t.Dst.Addr(), t.Src.Port(), t.Dst.Port(), 600, 0)
		f.ProtoInfo.TCP = &ti.ProtoInfoTCP{State: uint8(TCPEstablished)}
		if err := tm.Create(f); err != nil {
			b.Fatal(err)
		}
	}
	for _, size := range []int{1, 16, 256, entries} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				at := n % (entries - size + 1)
				if errs := e.ct.SetLiberal(tuples[at : at+size]...); errs != nil {
					b.Fatal(errors.Join(errs...))
				}
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "connections/s")
		})
	}
}
