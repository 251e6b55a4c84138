package eval_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// random is a source of rulesets and frames.
type random struct {
	*rand.Rand
	l *lab
}

func pick[T any](r *random, from ...T) T { return from[r.IntN(len(from))] }

// often is true in so many percent of the cases.
func (r *random) often(percent int) bool { return r.IntN(100) < percent }

func (r *random) port() uint16 {
	return pick[uint16](r, 22, 53, 80, 443, 1000, 1001, 1005, 8080, 65535, 0)
}

// source4 and source6 are a few addresses, which the router has no route to: it cannot answer.
func (r *random) source4() netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(pick(r, 1, 2, 7, 64, 65, 200))})
}

func (r *random) source6() netip.Addr {
	a := netip.MustParseAddr("2001:db8:ffff::").As16()
	a[15] = byte(pick(r, 1, 2, 7, 64, 65, 200))
	return netip.AddrFrom16(a)
}

func (r *random) destination(six int) netip.Addr {
	switch r.IntN(4) {
	case 0:
		if six == 1 {
			return netip.MustParseAddr("2001:db8:eeee::9")
		}
		return netip.MustParseAddr("192.0.2.9")
	case 1:
		return r.l.local[six]
	}
	return r.l.remote[six]
}

// frame makes a frame: most are right, and many are wrong in one way.
func (r *random) frame() frame {
	f := frame{bridge: r.often(25)}
	switch {
	case r.often(4):
		f.data = r.arp()
	case r.often(2):
		f.data = r.foreign()
	default:
		f.data = r.spec().Build()
	}
	copy(f.data, r.to(f.bridge))
	copy(f.data[6:], []byte{2, 0, 0, 0, 9, byte(pick(r, 1, 2, 3))})
	if tagged := f.data[12] == 0x88 || f.data[12] == 0x81; r.often(5) && (!f.bridge || !tagged) {
		f.data = f.data[:max(packet.EthernetLen, r.IntN(len(f.data)+1))]
	}
	if r.often(4) {
		for range 1 + r.IntN(2) {
			at := packet.EthernetLen - 2 + r.IntN(len(f.data)-packet.EthernetLen+2)
			if at >= 22 && at < 62 { // not IPv6 addresses: where they lead is no matter of rules
				at = packet.EthernetLen
			}
			f.data[min(at, len(f.data)-1)] ^= 1 << r.IntN(8)
		}
	}
	return f
}

func (r *random) to(bridge bool) []byte {
	mac := *r.l.r0.MAC
	if bridge {
		mac = *r.l.p0.Bridge.MAC
	}
	switch r.IntN(20) {
	case 0:
		mac = packet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case 1:
		mac = packet.MAC{1, 0, 0x5e, 0, 0, 9}
	case 2:
		mac = packet.MAC{2, 0, 0, 0, 8, 8}
	}
	return mac[:]
}

func (r *random) arp() []byte {
	b := make([]byte, packet.EthernetLen+28)
	binary.BigEndian.PutUint16(b[12:], packet.EtherTypeARP)
	copy(b[14:], []byte{0, 1, 8, 0, 6, 4, 0, byte(pick(r, 1, 2, 3)), 2, 0, 0, 0, 9, 1, 203, 0, 113, byte(r.IntN(9))})
	copy(b[38:], []byte{203, 0, 113, 77})
	return b
}

func (r *random) foreign() []byte {
	// br_netfilter, where it is there, drops frames that end inside a PPPoE header of 8 bytes.
	b := make([]byte, packet.EthernetLen+8+r.IntN(50))
	binary.BigEndian.PutUint16(b[12:], pick[uint16](r, 0x88cc, 0x0100, 0x8847, 0x8864, 0x9999))
	return b
}

// spec is an IP packet: TCP, UDP, ICMP or something else.
func (r *random) spec() packet.Spec {
	six := r.IntN(2)
	src := r.source4()
	if six == 1 {
		src = r.source6()
	}
	proto := pick[uint8](r, 6, 6, 6, 17, 17, 17, 1, 58, 132, 50, 47, 136)
	t := packet.Tuple{Src: netip.AddrPortFrom(src, r.port()), Dst: netip.AddrPortFrom(r.destination(six), r.port()), Proto: proto}
	payload := make([]byte, pick(r, 0, 1, 3, 8, 20, 21, 200, 1000))
	for i := range min(len(payload), 24) {
		payload[i] = byte(pick(r, 0, 1, 2, 8, 128, 129, 255, r.IntN(256)))
	}
	if proto == 1 || proto == 58 {
		payload = append([]byte{byte(pick(r, 0, 3, 5, 8, 11, 1, 2, 128, 129, 135)), byte(pick(r, 0, 0, 1, 3, 4)), 0, 0, 0, 7, 0, 9}, payload...)
	}
	s := packet.New(t, payload)
	s.TTL = pick[uint8](r, 1, 2, 64, 64, 128, 255)
	s.TOS = pick[uint8](r, 0, 0, 1, 2, 3, 0x28, 0x48, 0xb8, 0xe1)
	s.ID = uint16(pick(r, 0, 1, 7, 0xbeef))
	s.FlowLabel = uint32(pick(r, 0, 0, 5, 0xfffff))
	s.Flags = pick(r, packet.SYN, packet.ACK, packet.SYN|packet.ACK, packet.FIN|packet.ACK, packet.RST, packet.PSH|packet.ACK, 0,
		packet.TCPFlags(r.IntN(256)))
	s.Window = uint16(pick(r, 0, 1, 1024, 65535))
	r.vary(&s, six == 1)
	if six == 0 && (len(s.Options) > 0 || s.IHL != 0) {
		// Routing looks at options between prerouting and the next hook, which is no matter of rules.
		s.Tuple.Dst = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), s.Tuple.Dst.Port())
	}
	if six == 0 && (s.MF || s.FragOffset != 0) && s.Tuple.Dst.Addr() == r.l.local[0] {
		// Two of them could be put together.
		s.Tuple.Dst = netip.AddrPortFrom(r.l.remote[0], s.Tuple.Dst.Port())
	}
	return s
}

// vary makes a packet unusual.
func (r *random) vary(s *packet.Spec, six bool) {
	if r.often(15) {
		s.Tags = []packet.Tag{{TPID: pick(r, packet.EtherTypeVLAN, packet.EtherTypeVLAN, packet.EtherTypeQinQ), TCI: r.tci()}}
		if r.often(20) {
			s.Tags = append(s.Tags, packet.Tag{TPID: packet.EtherTypeVLAN, TCI: r.tci()})
		}
	}
	if r.often(15) {
		s.TCPOptions = pick(r, []byte{2, 4, 5, 0xb4}, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, []byte{2, 4, 5, 0xb4, 4, 2, 3, 3, 7},
			[]byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, []byte{2, 40, 1, 1}, []byte{0, 2, 4, 5}, []byte{19, 0, 4, 2})
	}
	if r.often(8) {
		s.Trailer = make([]byte, 1+r.IntN(20))
	}
	switch r.IntN(24) {
	case 0:
		s.LenDelta = pick(r, -1, 1, -8, 20, -30)
	case 1:
		s.UDPLenDelta = pick(r, -1, 1, -8)
	case 2:
		s.DataOffset = uint8(1 + r.IntN(15))
	case 3:
		s.Wrong = pick(r, packet.WrongIPChecksum, packet.WrongL4Checksum, packet.NoChecksum)
	case 4:
		s.Version = pick[uint8](r, 5, 6, 4)
	case 5:
		s.IHL = pick[uint8](r, 4, 6, 15)
	}
	if six {
		r.vary6(s)
		return
	}
	switch r.IntN(12) {
	case 0:
		s.MF, s.DF = true, false
	case 1:
		s.FragOffset, s.DF = uint16(pick(r, 1, 3, 185)), false
	case 2:
		s.Options = pick(r, []byte{7, 3, 4}, []byte{148, 4, 0, 0}, []byte{1, 1, 1}, []byte{131, 7, 4, 1, 2, 3, 4}, []byte{7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0})
	}
}

func (r *random) tci() uint16 {
	return uint16(pick(r, 0, 5, 10, 4095)) | uint16(pick(r, 0, 0, 3, 7))<<13 | uint16(pick(r, 0, 0, 1))<<12
}

func (r *random) vary6(s *packet.Spec) {
	for range pick(r, 0, 0, 0, 0, 0, 1, 1, 2, 3) {
		x := packet.Extension{Proto: pick[uint8](r, 0, 43, 44, 60, 51, 59)}
		switch x.Proto {
		case 0, 60:
			x.Body = pick(r, []byte{1, 4, 0, 0, 0, 0}, []byte{5, 2, 0, 0, 1, 0}, []byte{1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		case 43:
			x.Body = pick(r, []byte{0, 0, 0, 0, 0, 0}, []byte{2, 1, 0, 0, 0, 0}, []byte{4, 0, 0, 0, 0, 0})
		case 44:
			x.Body = []byte{0, pick[byte](r, 0, 1, 8, 9), 0, 0, 0, 9}
		default:
			x.Body = make([]byte, 6)
		}
		s.Extensions = append(s.Extensions, x)
	}
}
