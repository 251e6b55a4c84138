package testkit_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const wait = 2 * time.Second

// crossing is a UDP or TCP tuple from the client to the server.
func crossing(r *testkit.Router, six bool, proto uint8) packet.Tuple {
	return packet.Tuple{
		Src:   netip.AddrPortFrom(r.C0.Addr(six), 4000),
		Dst:   netip.AddrPortFrom(r.S0.Addr(six), 5000),
		Proto: proto,
	}
}

func families(t *testing.T, f func(t *testing.T, six bool)) {
	for _, six := range []bool{false, true} {
		name := "ip"
		if six {
			name = "ip6"
		}
		t.Run(name, func(t *testing.T) { f(t, six) })
	}
}

func TestPortFrameCrossesTheRouterWithTTLOneLessAndNewMACs(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{})
	s := testkit.OpenPort(t, r.S0, testkit.PortOptions{})
	families(t, func(t *testing.T, six bool) {
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			spec := packet.New(crossing(r, six, proto), []byte("across"))
			spec.Src, spec.Dst, spec.TOS = r.C0.MAC, r.R0.MAC, 0x28
			if err := c.Send(spec.Build()); err != nil {
				t.Fatal(err)
			}
			got, err := s.Recv(wait, testkit.OfTuple(spec.Tuple))
			if err != nil {
				t.Fatal(err)
			}
			want := spec
			want.Src, want.Dst, want.TTL = r.R1.MAC, r.S0.MAC, spec.TTL-1
			if d := packet.Diff(want.Build(), got.Data); d != "" {
				t.Errorf("%s: %s", packet.ProtoName(proto), d)
			}
			if got.PartialChecksum || got.TagInMetadata || got.Outgoing {
				t.Errorf("%s: a plain frame came marked: %+v", packet.ProtoName(proto), got)
			}
		}
	})
}

func TestPortWithRawEndsHearsNoAnswer(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{})
	spec := packet.New(crossing(r, false, packet.TCP), nil)
	spec.Src, spec.Dst = r.C0.MAC, r.R0.MAC
	if err := c.Send(spec.Build()); err != nil {
		t.Fatal(err)
	}
	answers := testkit.Decoded(func(h packet.Header) bool { return h.Family == 4 })
	if err := c.None(200*time.Millisecond, answers); err != nil {
		t.Error(err)
	}
}

func TestPortHostsWithAddressesAnswerWithRST(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{PermanentNeighbours: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{})
	families(t, func(t *testing.T, six bool) {
		spec := packet.New(crossing(r, six, packet.TCP), nil)
		spec.Src, spec.Dst = r.C0.MAC, r.R0.MAC
		if err := c.Send(spec.Build()); err != nil {
			t.Fatal(err)
		}
		got, err := c.Recv(wait, testkit.OfTuple(spec.Tuple.Reverse()))
		if err != nil {
			t.Fatal(err)
		}
		h, err := packet.Decode(got.Data)
		if err != nil || h.Flags != packet.RST {
			t.Errorf("got flags %v, error %v, want RST", h.Flags, err)
		}
	})
}

func TestPortVNetChecksumLeftUnfinishedArrivesMarkedPartial(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{VNet: true})
	s := testkit.OpenPort(t, r.S0, testkit.PortOptions{VNet: true})
	families(t, func(t *testing.T, six bool) {
		spec := packet.New(crossing(r, six, packet.UDP), bytes.Repeat([]byte("x"), 101))
		spec.Src, spec.Dst, spec.Wrong = r.C0.MAC, r.R0.MAC, packet.PartialChecksum
		frame := spec.Build()
		h, err := packet.Decode(frame)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendVNet(testkit.PartialVNet(h), frame); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv(wait, testkit.OfTuple(spec.Tuple))
		if err != nil {
			t.Fatal(err)
		}
		gh, err := packet.Decode(got.Data)
		if err != nil {
			t.Fatal(err)
		}
		if !got.PartialChecksum || got.VNet.Flags&testkit.VNetNeedsChecksum == 0 || !gh.L4ChecksumPartial(got.Data) {
			t.Errorf("the checksum was finished on the way: %+v", got)
		}
	})
}

func TestPortVNetSuperPacketCrossesTheRouterWhole(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{VNet: true})
	s := testkit.OpenPort(t, r.S0, testkit.PortOptions{VNet: true})
	families(t, func(t *testing.T, six bool) {
		const mss, segments = 1000, 8
		spec := packet.New(crossing(r, six, packet.TCP), bytes.Repeat([]byte("y"), mss*segments))
		spec.Src, spec.Dst, spec.Wrong = r.C0.MAC, r.R0.MAC, packet.PartialChecksum
		frame := spec.Build()
		h, err := packet.Decode(frame)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendVNet(testkit.TCPVNet(h, mss), frame); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv(wait, testkit.OfTuple(spec.Tuple))
		if err != nil {
			t.Fatal(err)
		}
		if got.VNet.GSOSize != mss || len(got.Data) != len(frame) {
			t.Errorf("got %d bytes in segments of %d, want %d in segments of %d", len(got.Data), got.VNet.GSOSize, len(frame), mss)
		}
	})
}

func TestPortVLANTagArrivesInTheBytesAndIsReportedFromMetadata(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{})
	in := testkit.OpenPort(t, r.R0, testkit.PortOptions{})
	spec := packet.New(crossing(r, false, packet.UDP), []byte("tagged"))
	spec.Src, spec.Dst = r.C0.MAC, r.R0.MAC
	spec.Tags = []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 0x6007}, {TPID: packet.EtherTypeVLAN, TCI: 100}}
	if err := c.Send(spec.Build()); err != nil {
		t.Fatal(err)
	}
	got, err := in.Recv(wait, testkit.OfTuple(spec.Tuple))
	if err != nil {
		t.Fatal(err)
	}
	if d := packet.Diff(spec.Build(), got.Data); d != "" {
		t.Error(d)
	}
	if !got.TagInMetadata {
		t.Error("the outer tag was in the bytes: does this kernel no longer untag on receive?")
	}
}

func TestPortDrainEmptiesTheQueue(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	c := testkit.OpenPort(t, r.C0, testkit.PortOptions{QdiscBypass: true})
	s := testkit.OpenPort(t, r.S0, testkit.PortOptions{})
	spec := packet.New(crossing(r, false, packet.UDP), nil)
	spec.Src, spec.Dst = r.C0.MAC, r.R0.MAC
	const sent = 50
	for i := range sent {
		spec.ID = uint16(i)
		if err := c.Send(spec.Build()); err != nil {
			t.Fatal(err)
		}
	}
	drained := 0
	testkit.MustAwait(t, wait, func() error {
		n, err := s.Drain()
		if drained += n; err == nil && drained < sent {
			err = fmt.Errorf("drained %d of %d frames", drained, sent)
		}
		return err
	})
	spec.ID = sent
	if err := c.Send(spec.Build()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Recv(wait, testkit.OfTuple(spec.Tuple))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := packet.Decode(got.Data); err != nil || h.ID != sent {
		t.Errorf("after draining, frame %d comes first, error %v", h.ID, err)
	}
	if lost, err := s.Lost(); err != nil || lost != 0 {
		t.Errorf("lost %d frames, error %v", lost, err)
	}
}
