package bench

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestGeneratorWritesEveryFlowOnceWithRightChecksums(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	const first, n = 1 << 15, 1 << 10 // across no port boundary: first is one
	for _, six := range []bool{false, true} {
		for _, proto := range []uint8{packet.UDP, packet.TCP} {
			for _, dir := range []direction{fromClient, fromServer} {
				s := testStream(six, proto, dir, first, n)
				g, err := newGenerator(device{name: "lo", index: 1}, s)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(g.close)
				seen := map[packet.Tuple]bool{}
				for range n {
					// Garbage in, as a recycled page is.
					in, out := make([]byte, len(g.data)), make([]byte, len(g.data))
					for i := range in {
						in[i] = 0xa5
					}
					if _, err := g.prog.Run(&ebpf.RunOptions{Data: in, DataOut: out}); err != nil {
						t.Fatal(err)
					}
					h, err := packet.Decode(out)
					if err != nil || !h.IPChecksumOK(out) || !h.L4ChecksumOK(out) {
						t.Fatalf("%v: frame %x: checksums wrong or %v", s.template.Tuple, out, err)
					}
					seen[h.Tuple] = true
					client, server := h.Tuple.Src, h.Tuple.Dst
					if dir == fromServer {
						client, server = server, client
					}
					if client.Port() < clientPort || client.Port() >= clientPort+n || server.Port() != serverPort+1 {
						t.Fatalf("ports of %v are outside the stream", h.Tuple)
					}
				}
				if len(seen) != n {
					t.Errorf("%v: %d of %d flows", s.template.Tuple, len(seen), n)
				}
			}
		}
	}
}

func testStream(six bool, proto uint8, dir direction, first, n int) stream {
	src, dst := "10.0.0.1", "192.0.2.1"
	if six {
		src, dst = "2001:db8::1", "2001:db8::2"
	}
	s := stream{
		template: datagram(device{}, device{}, netip.MustParseAddr(src), netip.MustParseAddr(dst)),
		dir:      dir, first: first, flows: n,
	}
	if proto == packet.TCP {
		return s.segment(packet.ACK, clientSeq, serverSeq)
	}
	return s
}

func TestGeneratorRefusesFlowsThatAreNoPowerOfTwo(t *testing.T) {
	if _, err := newGenerator(device{index: 1}, testStream(false, packet.UDP, fromClient, 0, 3)); err == nil {
		t.Error("3 flows were taken")
	}
}
