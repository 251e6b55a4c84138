package packet_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/nft-offload/nft-offload/internal/packet"
)

func tuple(proto uint8, six bool) packet.Tuple {
	src, dst := "10.0.1.2:4000", "198.51.100.2:443"
	if six {
		src, dst = "[2001:db8:1::2]:4000", "[2001:db8:2::2]:443"
	}
	return packet.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}
}

// every runs f for TCP and UDP over both families, with a payload of odd length.
func every(t *testing.T, f func(t *testing.T, s packet.Spec)) {
	for _, proto := range []uint8{packet.TCP, packet.UDP} {
		for _, six := range []bool{false, true} {
			name := packet.ProtoName(proto)
			if six {
				name += "6"
			}
			s := packet.New(tuple(proto, six), []byte("odd payload"))
			s.Src, s.Dst = packet.MAC{2, 0, 0, 0, 0, 1}, packet.MAC{2, 0, 0, 0, 0, 2}
			t.Run(name, func(t *testing.T) { f(t, s) })
		}
	}
}

// The bytes were written by hand from RFC 791 and RFC 768, and the checksums added up by hand.
func TestBuildSmallUDPPacketGivesTheseBytes(t *testing.T) {
	s := packet.Spec{
		Dst: packet.MAC{2, 0, 0, 0, 0, 2}, Src: packet.MAC{2, 0, 0, 0, 0, 1},
		Tuple: packet.Tuple{
			Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2"), Proto: packet.UDP,
		},
		TTL: 64, ID: 1, Payload: []byte{0xab},
	}
	// IP: 4500+001d+0001+0000+4011+0a00+0001+0a00+0002 = 9932, complement 66cd.
	// UDP: 0a00+0001+0a00+0002+0011+0009 + 0001+0002+0009 + ab00 = bf29, complement 40d6.
	want := "020000000002" + "020000000001" + "0800" +
		"4500001d00010000401166cd0a0000010a000002" + "00010002000940d6" + "ab"
	if got := hex.EncodeToString(s.Build()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBuildEveryFieldIsWhatGopacketReads(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		s.TOS, s.TTL, s.ID, s.FlowLabel = 0xb9, 7, 0xbeef, 0xabcde
		s.Flags, s.Seq, s.Ack, s.Window, s.Urgent = packet.ACK|packet.URG|packet.CWR, 0x01020304, 0x05060708, 1234, 9
		s.TCPOptions = []byte{2, 4, 5, 0xb4, 1}
		s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: 0xa064}}
		p := gopacket.NewPacket(s.Build(), layers.LayerTypeEthernet, gopacket.Default)
		if e := p.ErrorLayer(); e != nil {
			t.Fatal(e.Error())
		}
		tag := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
		equal(t, "tag", fmt.Sprint(tag.Priority, tag.VLANIdentifier), "5 100")
		switch ip := p.NetworkLayer().(type) {
		case *layers.IPv4:
			equal(t, "ip", fmt.Sprint(ip.TOS, ip.TTL, ip.Id, ip.Flags, ip.SrcIP, ip.DstIP), "185 7 48879 DF 10.0.1.2 198.51.100.2")
		case *layers.IPv6:
			equal(t, "ip6", fmt.Sprint(ip.TrafficClass, ip.HopLimit, ip.FlowLabel, ip.SrcIP, ip.DstIP),
				fmt.Sprint(185, 7, 0xabcde, " 2001:db8:1::2 2001:db8:2::2"))
		}
		switch l4 := p.TransportLayer().(type) {
		case *layers.TCP:
			equal(t, "tcp", fmt.Sprint(uint16(l4.SrcPort), uint16(l4.DstPort), l4.Seq, l4.Ack, l4.Window, l4.Urgent, l4.DataOffset),
				fmt.Sprint(4000, 443, 0x01020304, 0x05060708, 1234, 9, 7))
			if !l4.ACK || !l4.URG || !l4.CWR || l4.SYN || l4.FIN || l4.RST || l4.PSH || l4.ECE {
				t.Errorf("flags: %+v", l4)
			}
		case *layers.UDP:
			equal(t, "udp", fmt.Sprint(uint16(l4.SrcPort), uint16(l4.DstPort), l4.Length), fmt.Sprint(4000, 443, 8+len(s.Payload)))
		}
		if got := p.ApplicationLayer().Payload(); !bytes.Equal(got, s.Payload) {
			t.Errorf("payload %q", got)
		}
	})
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// gopacket computes checksums and lengths by itself when it serializes: an independent oracle.
func TestBuildChecksumsAreThoseOfGopacket(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		for n := range 70 {
			s.Payload = bytes.Repeat([]byte{0xff, byte(n)}, n)[:n]
			mine := s.Build()
			p := gopacket.NewPacket(mine, layers.LayerTypeEthernet, gopacket.Default)
			var stack []gopacket.SerializableLayer
			for _, l := range p.Layers() {
				if tl, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := tl.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
						t.Fatal(err)
					}
				}
				stack = append(stack, l.(gopacket.SerializableLayer))
			}
			buf := gopacket.NewSerializeBuffer()
			err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, stack...)
			if err != nil {
				t.Fatal(err)
			}
			// gopacket pads Ethernet frames to 60 bytes.
			if d := packet.Diff(mine, buf.Bytes()[:len(mine)]); d != "" {
				t.Fatalf("payload of %d bytes: %s", n, d)
			}
		}
	})
}

func TestBuildAndDecodeAgreeOnEveryVariant(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		six := !s.Tuple.Is4()
		for name, change := range map[string]func(*packet.Spec, *packet.Header){
			"plain": func(*packet.Spec, *packet.Header) {},
			"two tags": func(s *packet.Spec, h *packet.Header) {
				s.Tags = []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 1}, {TPID: packet.EtherTypeVLAN, TCI: 2}}
				h.Tags, h.TagCount = [2]packet.Tag{s.Tags[0], s.Tags[1]}, 2
			},
			"trailer": func(s *packet.Spec, h *packet.Header) { s.Trailer = make([]byte, 6); h.Trailing = 6 },
			"no payload": func(s *packet.Spec, h *packet.Header) {
				s.Payload = nil
				h.IPLen -= h.PayloadLen
				h.PayloadLen = 0
			},
		} {
			want := header(s)
			s := s
			change(&s, &want)
			shift := 4 * want.TagCount
			want.IPOffset, want.L4Offset, want.PayloadOffset = want.IPOffset+shift, want.L4Offset+shift, want.PayloadOffset+shift
			got, err := packet.Decode(s.Build())
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Errorf("%s (six %v): -want +got\n%s", name, six, d)
			}
		}
	})
}

// header is what Decode ought to say about an untagged Spec of New.
func header(s packet.Spec) packet.Header {
	h := packet.Header{
		Dst: s.Dst, Src: s.Src, Family: 6, Tuple: s.Tuple, TOS: s.TOS, TTL: s.TTL, Flags: s.Flags, Seq: s.Seq, Ack: s.Ack,
		IPOffset: 14, L4Offset: 54, PayloadLen: len(s.Payload),
	}
	if s.Tuple.Is4() {
		h.Family, h.L4Offset, h.DF = 4, 34, true
	}
	h.PayloadOffset = h.L4Offset + 8
	if s.Tuple.Proto == packet.TCP {
		h.PayloadOffset = h.L4Offset + 20
	}
	h.IPLen = h.PayloadOffset + h.PayloadLen - h.IPOffset
	return h
}

func TestBuildOptionsFragmentsAndExtensionsAreReported(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		for name, c := range map[string]struct {
			v4, v6            func(*packet.Spec)
			options, fragment bool
			ports             bool
		}{
			"options": {
				func(s *packet.Spec) { s.Options = []byte{7, 3, 4} }, // record route, padded to 4 bytes
				func(s *packet.Spec) {
					s.Extensions = []packet.Extension{{Proto: 0, Body: []byte{5, 2, 0, 0}}, {Proto: 60, Body: make([]byte, 9)}}
				},
				true, false, true,
			},
			"first fragment": {
				func(s *packet.Spec) { s.MF, s.DF = true, false },
				func(s *packet.Spec) {
					s.Extensions = []packet.Extension{{Proto: 44, Body: []byte{0, 1, 0, 0, 0, 9}}}
				},
				false, true, true,
			},
			"later fragment": {
				func(s *packet.Spec) { s.FragOffset, s.DF = 3, false },
				func(s *packet.Spec) {
					s.FragOffset = 3 // leaves out the L4 header
					s.Extensions = []packet.Extension{{Proto: 44, Body: []byte{0, 3 << 3, 0, 0, 0, 9}}}
				},
				false, true, false,
			},
		} {
			s := s
			if s.Tuple.Is4() {
				c.v4(&s)
			} else {
				c.v6(&s)
				c.options = true // a fragment header is an extension header
			}
			frame := s.Build()
			h, err := packet.Decode(frame)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if h.Options != c.options || h.Fragment != c.fragment || (h.Tuple.Dst.Port() == 443) != c.ports || h.Tuple.Proto != s.Tuple.Proto {
				t.Errorf("%s: got %+v", name, h)
			}
			if !bytes.Equal(h.Payload(frame), s.Payload) || !h.IPChecksumOK(frame) {
				t.Errorf("%s: payload %q, IP checksum right: %v", name, h.Payload(frame), h.IPChecksumOK(frame))
			}
			if h.L4ChecksumOK(frame) == c.fragment {
				t.Errorf("%s: L4 checksum said to be right: %v", name, !c.fragment)
			}
		}
	})
}

func TestBuildWrongChecksumsAreFound(t *testing.T) {
	every(t, func(t *testing.T, s packet.Spec) {
		six := !s.Tuple.Is4()
		for wrong, want := range map[packet.Wrong]struct{ ip, l4, partial bool }{
			0:                      {true, true, false},
			packet.WrongIPChecksum: {six, true, false},
			packet.WrongL4Checksum: {true, false, false},
			packet.PartialChecksum: {true, false, true},
			packet.NoChecksum:      {true, !six && s.Tuple.Proto == packet.UDP, false},
		} {
			s := s
			s.Wrong = wrong
			frame := s.Build()
			h, err := packet.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			ip, l4, partial := h.IPChecksumOK(frame), h.L4ChecksumOK(frame), h.L4ChecksumPartial(frame)
			if ip != want.ip || l4 != want.l4 || partial != want.partial {
				t.Errorf("wrong %d: IP %v, L4 %v, partial %v, want %+v", wrong, ip, l4, partial, want)
			}
		}
	})
}

func TestBuildUDPChecksumThatAddsUpToZeroIsSentAsOnes(t *testing.T) {
	s := packet.New(tuple(packet.UDP, false), []byte{0, 0})
	at := 34 + 6
	frame := s.Build()
	s.Payload = []byte{frame[at], frame[at+1]} // now the sum is 0xffff and its complement 0
	frame = s.Build()
	if frame[at] != 0xff || frame[at+1] != 0xff {
		t.Errorf("checksum %x, want ffff", frame[at:at+2])
	}
	h, err := packet.Decode(frame)
	if err != nil || !h.L4ChecksumOK(frame) {
		t.Errorf("said to be wrong, error %v", err)
	}
}
