package bench

import "github.com/nft-offload/nft-offload/internal/packet"

// Sequence numbers of the first bytes of the synthetic TCP connections.
const (
	clientSeq = 1000
	serverSeq = 5000
)

// tcpFrameLen is the length of the synthetic TCP segments: that of the datagrams, or what longer headers need and two
// bytes more. No segment of the demo's real connections has either: with the timestamp option they are 66, 74 (a SYN)
// or 78 bytes long (with one SACK block), or carry much.
func tcpFrameLen(six bool) int {
	if six {
		return ethernetLen + ipv6Len + tcpLen + 2
	}
	return frameLen
}

// segment turns a stream of datagrams into one of TCP segments of length tcpFrameLen.
func (s stream) segment(flags packet.TCPFlags, seq, ack uint32) stream {
	six := !s.template.Tuple.Is4()
	header := ethernetLen + ipv4Len + tcpLen
	if six {
		header = ethernetLen + ipv6Len + tcpLen
	}
	t := &s.template
	t.Tuple.Proto, t.Payload = packet.TCP, make([]byte, tcpFrameLen(six)-header)
	t.Flags, t.Seq, t.Ack, t.Window = flags, seq, ack, 502
	return s
}

// handshakeOf is SYN, SYN and ACK, ACK of TCP connections between the ends of two streams. The segments carry payload
// that nobody acknowledges, so that all have one length; conntrack does not mind.
func handshakeOf(up, down stream) []stream {
	return []stream{
		up.segment(packet.SYN, clientSeq, 0),
		down.segment(packet.SYN|packet.ACK, serverSeq, clientSeq+1),
		up.segment(packet.ACK, clientSeq+1, serverSeq+1),
	}
}

// legs makes the generators of streams.
func (b *bed) legs(streams []stream) ([]leg, error) {
	var legs []leg
	for _, s := range streams {
		out, to := b.topo.c0, b.server
		if s.dir == fromServer {
			out, to = b.topo.s0, b.client
		}
		g, err := newGenerator(out, s)
		if err != nil {
			return nil, err
		}
		b.later(func() error { g.close(); return nil })
		legs = append(legs, leg{g, to})
	}
	return legs, nil
}
