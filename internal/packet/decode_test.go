package packet_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/nft-offload/nft-offload/internal/packet"
)

func TestDecodeBadFramesSayWhy(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		tcp, six := s.Tuple.Proto == packet.TCP, !s.Tuple.Is4()
		tag := packet.Tag{TPID: packet.EtherTypeVLAN}
		for name, c := range map[string]struct {
			change func(*packet.Spec)
			want   error
			only   bool
		}{
			"arp":                   {func(s *packet.Spec) { s.EtherType = packet.EtherTypeARP }, packet.ErrNotIP, true},
			"three tags":            {func(s *packet.Spec) { s.Tags = []packet.Tag{tag, tag, tag} }, packet.ErrTooDeep, true},
			"version 5":             {func(s *packet.Spec) { s.Version = 5 }, packet.ErrVersion, true},
			"length beyond frame":   {func(s *packet.Spec) { s.LenDelta = 1 }, packet.ErrLength, true},
			"length inside L4":      {func(s *packet.Spec) { s.LenDelta = -1 - len(s.Payload) }, packet.ErrShort, true},
			"ihl 4":                 {func(s *packet.Spec) { s.IHL = 4 }, packet.ErrLength, !six},
			"ihl beyond length":     {func(s *packet.Spec) { s.IHL = 15 }, packet.ErrLength, !six},
			"data offset 4":         {func(s *packet.Spec) { s.DataOffset = 4 }, packet.ErrLength, tcp},
			"data offset too large": {func(s *packet.Spec) { s.DataOffset = 15 }, packet.ErrLength, tcp},
			"udp length beyond":     {func(s *packet.Spec) { s.UDPLenDelta = 1 }, packet.ErrLength, !tcp},
			"udp length 7":          {func(s *packet.Spec) { s.UDPLenDelta = -1 - len(s.Payload) }, packet.ErrLength, !tcp},
			"nine extensions": {func(s *packet.Spec) {
				s.Extensions = make([]packet.Extension, 9)
			}, packet.ErrTooDeep, six},
		} {
			if !c.only {
				continue
			}
			s := s
			c.change(&s)
			if h, err := packet.Decode(s.Build()); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v (%+v)", name, err, c.want, h)
			}
		}
	})
}

func TestDecodeEveryTruncationIsAnError(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: 1}}
		frame := s.Build()
		for n := range len(frame) {
			if _, err := packet.Decode(frame[:n]); err == nil {
				t.Errorf("%d of %d bytes decoded", n, len(frame))
			}
		}
	})
}

func TestDecodeOtherProtocolHasNoPorts(t *testing.T) {
	s := packet.New(tuple(1, false), []byte{8, 0, 0, 0})
	h, err := packet.Decode(s.Build())
	if err != nil {
		t.Fatal(err)
	}
	if h.Tuple.Src.Port() != 0 || h.Tuple.Proto != 1 || h.PayloadOffset != h.L4Offset || h.PayloadLen != 4 {
		t.Errorf("got %+v", h)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		frame := s.Build()
		n := testing.AllocsPerRun(100, func() {
			h, err := packet.Decode(frame)
			if err != nil || !h.L4ChecksumOK(frame) {
				t.Fatal("does not decode")
			}
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestTCPFlagsPrintTheirNames(t *testing.T) {
	for f, want := range map[packet.TCPFlags]string{0: "0", packet.SYN | packet.ACK: "SYN|ACK", packet.CWR | packet.FIN: "FIN|CWR"} {
		if f.String() != want {
			t.Errorf("got %s, want %s", f, want)
		}
	}
}

// FuzzDecode: no frame crashes the decoder, everything it says lies inside the frame, and what both understand is
// what gopacket reads.
func FuzzDecode(f *testing.F) {
	for _, proto := range []uint8{packet.TCP, packet.UDP, 1} {
		for _, six := range []bool{false, true} {
			s := packet.New(tuple(proto, six), []byte("seed"))
			f.Add(s.Build())
			s.Tags = []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 9}, {TPID: packet.EtherTypeVLAN, TCI: 8}}
			s.Options, s.TCPOptions = []byte{1, 1, 1}, []byte{1, 1, 8}
			s.Extensions = []packet.Extension{{Proto: 0, Body: []byte{1, 2, 3}}, {Proto: 44, Body: []byte{0, 1}}, {Proto: 43}}
			s.MF, s.Trailer = true, []byte{1}
			f.Add(s.Build())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if d := packet.Diff(frame, frame); d != "" {
			t.Errorf("a frame differs from itself: %s", d)
		}
		other := append([]byte{0}, frame...)
		if packet.Diff(frame, other) == "" {
			t.Error("two frames do not differ")
		}
		h, err := packet.Decode(frame)
		if err != nil {
			return
		}
		if h.Trailing < 0 || h.PayloadLen < 0 || h.L4Offset > h.PayloadOffset || h.IPOffset >= h.L4Offset ||
			h.PayloadOffset+h.PayloadLen+h.Trailing != len(frame) || h.IPOffset+h.IPLen+h.Trailing != len(frame) {
			t.Fatalf("offsets outside the frame of %d bytes: %+v", len(frame), h)
		}
		h.Payload(frame)
		h.IPChecksumOK(frame)
		if h.L4ChecksumOK(frame) && h.Fragment {
			t.Error("a fragment's checksum is said to be right")
		}
		h.L4ChecksumPartial(frame)
		againstGopacket(t, frame, h)
	})
}

func againstGopacket(t *testing.T, frame []byte, h packet.Header) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil || p.NetworkLayer() == nil || p.TransportLayer() == nil || h.Fragment || h.Options {
		return
	}
	var got packet.Tuple
	src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
	a, _ := netip.AddrFromSlice(src.Raw())
	b, _ := netip.AddrFromSlice(dst.Raw())
	switch l4 := p.TransportLayer().(type) {
	case *layers.TCP:
		got = packet.Tuple{Src: netip.AddrPortFrom(a, uint16(l4.SrcPort)), Dst: netip.AddrPortFrom(b, uint16(l4.DstPort)), Proto: packet.TCP}
	case *layers.UDP:
		got = packet.Tuple{Src: netip.AddrPortFrom(a, uint16(l4.SrcPort)), Dst: netip.AddrPortFrom(b, uint16(l4.DstPort)), Proto: packet.UDP}
	default:
		return
	}
	if got != h.Tuple {
		t.Errorf("tuple %v, gopacket %v", h.Tuple, got)
	}
}

func TestDiffNamesTheFieldThatChanged(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		tcp, six := s.Tuple.Proto == packet.TCP, !s.Tuple.Is4()
		for name, c := range map[string]struct {
			change func(*packet.Spec)
			want   string
			only   bool
		}{
			"ttl":      {func(s *packet.Spec) { s.TTL-- }, "ttl 64 -> 63", true},
			"mac":      {func(s *packet.Spec) { s.Src[5] = 9 }, "source MAC 02:00:00:00:00:01 -> 02:00:00:00:00:09", true},
			"tag":      {func(s *packet.Spec) { s.Tags = []packet.Tag{{TPID: 0x8100, TCI: 5}} }, "VLAN tags none -> [0x8100 id 5 priority 0]", true},
			"tos":      {func(s *packet.Spec) { s.TOS = 1 }, "tos 0x00 -> 0x01", true},
			"label":    {func(s *packet.Spec) { s.FlowLabel = 3 }, "flow label 0 -> 3", six},
			"id":       {func(s *packet.Spec) { s.ID = 3 }, "IP id 0 -> 3", !six},
			"df":       {func(s *packet.Spec) { s.DF = false }, "fragment field 0x4000 -> 0x0000", !six},
			"options":  {func(s *packet.Spec) { s.Options = []byte{1} }, "IP options or extensions  -> 01000000", !six},
			"port":     {func(s *packet.Spec) { s.Tuple.Src = netip.AddrPortFrom(s.Tuple.Src.Addr(), 7) }, "source port 4000 -> 7", true},
			"checksum": {func(s *packet.Spec) { s.Wrong = packet.WrongL4Checksum }, "L4 checksum ", true},
			"payload":  {func(s *packet.Spec) { s.Payload = []byte("odD payload") }, "payload byte 2 0x64 -> 0x44", true},
			"longer":   {func(s *packet.Spec) { s.Payload = []byte("odd payload!") }, "payload length 11 -> 12", true},
			"trailer":  {func(s *packet.Spec) { s.Trailer = []byte{1, 2} }, "trailer  -> 0102", true},
			"seq":      {func(s *packet.Spec) { s.Seq = 5 }, "sequence 1 -> 5", tcp},
			"flags":    {func(s *packet.Spec) { s.Flags = packet.ACK }, "TCP flags PSH|ACK -> ACK", tcp},
			"window":   {func(s *packet.Spec) { s.Window = 1 }, "window 502 -> 1", tcp},
			"length":   {func(s *packet.Spec) { s.UDPLenDelta = -1 }, "UDP length 19 -> 18", !tcp},
			"broken":   {func(s *packet.Spec) { s.Version = 9 }, "decoding: fine -> IP version does not match", true},
		} {
			if !c.only {
				continue
			}
			b := s
			c.change(&b)
			if d := packet.Diff(s.Build(), b.Build()); !strings.Contains(d, c.want) {
				t.Errorf("%s: %q lacks %q", name, d, c.want)
			}
		}
		if d := packet.Diff(s.Build(), s.Build()); d != "" {
			t.Errorf("equal frames differ: %s", d)
		}
	})
}
