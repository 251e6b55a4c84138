package rules_test

import (
	"encoding/binary"
	"net/netip"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Protocol numbers of the frames.
const (
	protoICMP   = 1
	protoICMPv6 = 58
	protoSCTP   = 132
)

// spec is an IP packet: TCP, UDP, ICMP or something else.
func (r *random) spec(a aim) packet.Spec {
	six := r.often(45)
	if a.family != 0 {
		six = a.family == 6
	}
	proto := pick[uint8](r, packet.TCP, packet.TCP, packet.TCP, packet.TCP, packet.UDP, packet.UDP, packet.UDP, protoICMP, protoICMPv6, protoSCTP,
		protoSCTP, 50, 51, 47, 4, 2, 33, 136)
	if a.proto != 0 {
		proto = a.proto
	}
	t := packet.Tuple{
		Src: netip.AddrPortFrom(or(a.src, six, r.addr(six)), orPort(a.sport, r.port())),
		Dst: netip.AddrPortFrom(or(a.dst, six, r.addr(six)), orPort(a.dport, r.port())), Proto: proto,
	}
	s := packet.New(t, r.payload(t))
	s.Tags = r.tags()
	if a.vlan >= 0 && len(s.Tags) == 0 {
		s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: uint16(a.vlan)}}
	}
	s.TTL = pick[uint8](r, 0, 1, 2, 64, 64, 128, 255)
	s.TOS = pick[uint8](r, 0, 0, 1, 2, 3, 0x28, 0x48, 0xb8, 0xe1)
	s.ID = uint16(pick(r, 0, 1, 7, 0xbeef))
	s.FlowLabel = uint32(pick(r, 0, 0, 5, 0xfffff))
	s.Flags = pick(r, packet.SYN, packet.ACK, packet.SYN|packet.ACK, packet.FIN|packet.ACK, packet.RST, packet.PSH|packet.ACK, 0,
		packet.TCPFlags(r.IntN(256)))
	s.Window = uint16(pick(r, 0, 1, 1024, 65535))
	s.Seq, s.Ack = r.Uint32(), uint32(pick(r, 0, 1, 77))
	s.Urgent = uint16(pick(r, 0, 0, 1))
	r.vary(&s)
	if six {
		r.vary6(&s)
	} else {
		r.vary4(&s)
	}
	return s
}

// payload is what is behind the headers that package packet writes: of protocols that it does not know, their header.
func (r *random) payload(t packet.Tuple) []byte {
	b := make([]byte, pick(r, 0, 1, 3, 8, 20, 21, 40, 200, 1000))
	for i := range min(len(b), 24) {
		b[i] = byte(pick(r, 0, 1, 2, 8, 128, 129, 255, r.IntN(256)))
	}
	switch t.Proto {
	case packet.TCP, packet.UDP:
	case protoICMP, protoICMPv6:
		b = append([]byte{byte(pick(r, 0, 3, 5, 8, 11, 1, 2, 128, 129, 135)), byte(pick(r, 0, 0, 1, 3, 4)), 0, 0, 0, 7, 0, 9}, b...)
	case 51: // an authentication header: it is followed on IPv6
		head := make([]byte, 12)
		head[0], head[1] = packet.TCP, 1
		b = append(head, b...)
	default:
		head := binary.BigEndian.AppendUint16(nil, t.Src.Port())
		head = binary.BigEndian.AppendUint16(head, t.Dst.Port())
		b = append(append(head, 0, 0, 0, byte(r.IntN(3)), 0, 0, 0, 0), b...)
	}
	return b
}

// vary makes a packet unusual.
func (r *random) vary(s *packet.Spec) {
	if r.often(20) {
		s.TCPOptions = pick(r, []byte{2, 4, 5, 0xb4}, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, []byte{2, 4, 5, 0xb4, 4, 2, 3, 3, 7},
			[]byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, []byte{2, 40, 1, 1}, []byte{0, 2, 4, 5}, []byte{19, 0, 4, 2}, []byte{1, 1, 1, 2},
			[]byte{3, 3, 7, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4})
	}
	if r.often(12) {
		s.Trailer = make([]byte, 1+r.IntN(20))
	}
	switch r.IntN(28) {
	case 0, 1:
		s.LenDelta = pick(r, -1, 1, -8, 20, -30, 1000)
	case 2:
		s.UDPLenDelta = pick(r, -1, 1, -8)
	case 3:
		s.DataOffset = uint8(1 + r.IntN(15))
	case 4:
		s.Wrong = pick(r, packet.WrongIPChecksum, packet.WrongL4Checksum, packet.NoChecksum)
	case 5:
		s.Version = pick[uint8](r, 5, 6, 4, 15)
	case 6:
		s.IHL = pick[uint8](r, 1, 4, 6, 15)
	case 7:
		s.EtherType = pick(r, packet.EtherTypeIPv4, packet.EtherTypeIPv6)
	}
}

func (r *random) vary4(s *packet.Spec) {
	switch r.IntN(12) {
	case 0:
		s.MF, s.DF = true, false
	case 1:
		s.FragOffset, s.DF, s.MF = uint16(pick(r, 1, 3, 185, 1<<r.IntN(13), 1<<r.IntN(13))), false, r.often(50)
	case 2:
		s.Options = pick(r, []byte{7, 3, 4}, []byte{148, 4, 0, 0}, []byte{1, 1, 1}, []byte{131, 7, 4, 1, 2, 3, 4}, []byte{7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0},
			make([]byte, 40), []byte{7, 39, 4})
	case 3:
		s.Reserved = true
	}
}

// vary6 puts extension headers into some packets, in any order.
func (r *random) vary6(s *packet.Spec) {
	n := pick(r, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3)
	if r.often(2) {
		n = 4 + r.IntN(12)
	}
	for range n {
		x := packet.Extension{Proto: pick[uint8](r, 0, 43, 44, 60, 60, 51, 59, 135)}
		switch x.Proto {
		case 0, 60:
			x.Body = pick(r, []byte{1, 4, 0, 0, 0, 0}, []byte{5, 2, 0, 0, 1, 0}, []byte{1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		case 43:
			x.Body = pick(r, []byte{0, 0, 0, 0, 0, 0}, []byte{2, 1, 0, 0, 0, 0}, []byte{4, 0, 0, 0, 0, 0})
		case 44:
			x.Body = []byte{pick[byte](r, 0, 0, 0, 1<<r.IntN(8)), pick[byte](r, 0, 0, 1, 8, 9), 0, 0, 0, 9}
		default:
			x.Body = make([]byte, 6)
		}
		s.Extensions = append(s.Extensions, x)
	}
}
