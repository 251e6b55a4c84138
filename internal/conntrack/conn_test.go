package conntrack

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	ti "github.com/ti-mo/conntrack"

	"github.com/nft-offload/nft-offload/internal/packet"
)

func TestGetReportsMarkLabelHelperAndNAT(t *testing.T) {
	e := newEnv(t)
	e.router.NFTables(`table ip nat { chain p { type nat hook postrouting priority srcnat; oifname "r1" masquerade; }; }`)
	c := e.connect("10.0.2.2", 7021)
	x := e.get(c.orig)
	if x.Mark != 0x77 || !x.HasLabel(5) || x.HasLabel(4) || x.Labels != [2]uint64{1 << 5} {
		t.Errorf("mark %#x labels %x, want 0x77 and label 5: %s", x.Mark, x.Labels, x)
	}
	if x.Helper != "ftp" || !x.Status.Has(HelperSet) {
		t.Errorf("helper %q, status %s, want ftp", x.Helper, x.Status)
	}
	if !x.NAT() || !x.Status.Has(SrcNAT) || x.Status.Has(DstNAT) || x.Reply.Dst.Addr().String() != "10.0.2.1" {
		t.Errorf("masqueraded connection reads %s", x)
	}
	if y := e.get(x.Reply); y.Orig != x.Orig || y.ID != x.ID {
		t.Errorf("by reply tuple: %s, want %s", y, x)
	}
}

func TestDumpAgreesWithAnotherReader(t *testing.T) {
	e := newEnv(t)
	for port := range uint16(5) {
		e.connect("10.0.2.2", 7000+port)
		e.connect("fd00:2::2", 7000+port)
	}
	var tm *ti.Conn
	if err := e.router.Do(func() (err error) { tm, err = ti.Dial(nil); return err }); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tm.Close() }()
	flows, err := tm.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32]ti.Flow{}
	for _, f := range flows {
		if f.TupleOrig.Proto.Protocol == packet.TCP {
			want[f.ID] = f
		}
	}
	if len(want) != 10 {
		t.Fatalf("the other reader sees %d connections, want 10", len(want))
	}
	seen := 0
	for x, err := range e.ct.Dump(Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		f, ok := want[x.ID]
		if !ok {
			continue
		}
		seen++
		o, r := f.TupleOrig, f.TupleReply
		if x.Orig.Src.Addr() != o.IP.SourceAddress || x.Orig.Dst.Port() != o.Proto.DestinationPort ||
			x.Reply.Src.Addr() != r.IP.SourceAddress || x.Reply.Dst.Port() != r.Proto.DestinationPort {
			t.Errorf("tuples %s, want %v %v", x, o, r)
		}
		p := f.ProtoInfo.TCP
		got := ti.ProtoInfoTCP{
			State: uint8(x.TCP.State), OriginalWindowScale: x.TCP.WScaleOrig, ReplyWindowScale: x.TCP.WScaleReply,
			OriginalFlags: uint16(x.TCP.FlagsOrig) << 8, ReplyFlags: uint16(x.TCP.FlagsReply) << 8,
		}
		if got != *p || uint32(x.Status) != uint32(f.Status) || x.Mark != f.Mark {
			t.Errorf("%s: %+v %v %v, want %+v %v %v", x, got, uint32(x.Status), x.Mark, *p, uint32(f.Status), f.Mark)
		}
		if d := x.Timeout - time.Duration(f.Timeout)*time.Second; d > 0 || d < -time.Minute {
			t.Errorf("%s: timeout %s, want about %d s", x, x.Timeout, f.Timeout)
		}
	}
	if seen != len(want) {
		t.Errorf("dump has %d of %d connections", seen, len(want))
	}
	u, err := e.ct.Usage()
	if err != nil || u.Entries < 10 || u.Max == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

func TestDumpFiltersAndMayBeLeftEarly(t *testing.T) {
	e := newEnv(t)
	a := e.connect("10.0.2.2", 7000)
	e.connect("10.0.2.2", 7001)
	e.connect("fd00:2::2", 7000)
	for range 3 { // a dump that was left must not spoil the next one
		for _, err := range e.ct.Dump(Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if errs := e.ct.Apply([]Update{{Orig: a.orig, Timeout: time.Hour}}); errs != nil {
		t.Fatal(errs)
	}
	for name, x := range map[string]struct {
		filter Filter
		want   int
	}{
		"all":            {Filter{}, 3},
		"ipv6":           {Filter{Family: 10}, 1},
		"assured":        {Filter{Status: Assured}, 3},
		"offloaded":      {Filter{Status: Offload}, 0},
		"mark bits":      {Filter{Mark: 0x70, MarkMask: 0xf0}, 3},
		"other mark":     {Filter{Mark: 0x10, MarkMask: 0xf0}, 0},
		"assured, ipv4":  {Filter{Family: 2, Status: Assured}, 2},
		"expected, ipv4": {Filter{Family: 2, Status: Expected}, 0},
	} {
		n := 0
		for x, err := range e.ct.Dump(x.filter) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if x.Orig.Proto == packet.TCP {
				n++
			}
		}
		if n != x.want {
			t.Errorf("%s: %d connections, want %d", name, n, x.want)
		}
	}
}

func TestSysctlsAreThoseOfTheOpeningNamespace(t *testing.T) {
	e := newEnv(t)
	e.router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", "4321")
	e.router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_unacknowledged", "77")
	e.router.Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
	if d, err := e.ct.EstablishedTimeout(); err != nil || d != 4321*time.Second {
		t.Errorf("established timeout %s, %v", d, err)
	}
	if d, err := e.ct.UnacknowledgedTimeout(); err != nil || d != 77*time.Second {
		t.Errorf("unacknowledged timeout %s, %v", d, err)
	}
	if l, err := e.ct.BeLiberal(); err != nil || !l {
		t.Errorf("be_liberal %v, %v", l, err)
	}
	e.router.Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "0")
	if l, err := e.ct.BeLiberal(); err != nil || l {
		t.Errorf("be_liberal after reset %v, %v", l, err)
	}
}

func TestDecodeOffloadedEntryHasNeitherTimeoutNorTCP(t *testing.T) {
	// While IPS_OFFLOAD is set the kernel leaves out CTA_TIMEOUT and CTA_PROTOINFO (ctnetlink_fill_info).
	r := request{}
	r.attr(ctaStatus, binary.BigEndian.AppendUint32(nil, uint32(Offload|Assured|Confirmed|SeenReply)))
	r.attr(ctaMark, binary.BigEndian.AppendUint32(nil, 7))
	x, err := decodeEntry(r.b)
	if err != nil || x.HasTimeout || x.TCP != nil || x.TCP.Liberal() || x.TCP.Unacknowledged() || !x.Status.Has(Offload) || x.Mark != 7 {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Status(0x419e).String():       "seen-reply,assured,confirmed,snat,snat-done,dnat-done,offload",
		Status(1 << 20).String():      "0x100000",
		TCPFlags(0).String():          "none",
		TCPFlags(0x2b).String():       "window-scale,sack,liberal,maxack",
		TCPState(3).String():          "ESTABLISHED",
		TCPState(77).String():         "TCP_STATE_77",
		Status(HWOffload).String():    "hw-offload",
		LiberalMask.String():          "liberal,unacknowledged,maxack",
		SimultaneousOpen.String():     "simultaneous-open",
		Status(FixedTimeout).String(): "fixed-timeout",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	r := request{}
	r.attr(ctaStatus, []byte{0, 0, 1, 2})
	at := r.nest(ctaProtoInfo)
	tcp := r.nest(ctaProtoInfoTCP)
	r.attr(ctaTCPFlagsOrig, []byte{8, 0})
	r.close(tcp)
	r.close(at)
	f.Add(r.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := decodeEntry(b)
		if err != nil && errors.Unwrap(err) == nil {
			t.Errorf("error without a cause: %v", err)
		}
		for len(b) > 0 {
			_, rest, err := nextReply(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
		}
	})
}
