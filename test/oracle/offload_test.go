package oracle

import (
	"bytes"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestUnfinishedChecksums: packets whose sender left a checksum to the device, as containers send them, leave with what
// the kernel would have made of them. One of the checksums is not the packet's own but that of a packet inside: a UDP
// tunnel without an outer checksum.
func TestUnfinishedChecksums(t *testing.T) {
	masquerade := nats()[1]
	p := &pairOfBoxes{t: t, n: masquerade, ref: newBox(t, 0, masquerade.rules), dut: newBox(t, datapath.HookTC, masquerade.rules)}
	for _, proto := range []uint8{packet.TCP, packet.UDP} {
		for _, six := range []bool{false, true} {
			tuples := p.ready(proto, six)
			s := packet.New(tuples[client], make([]byte, 40))
			s.Wrong = packet.PartialChecksum
			frame := p.clients(s)
			h, err := packet.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			p.sameOffloaded(frame, testkit.PartialVNet(h), tuples[client])
		}
	}
	tuples := p.ready(packet.UDP, false)
	s := packet.New(tuples[client], make([]byte, 60))
	s.Wrong = packet.NoChecksum
	frame := p.clients(s)
	h, err := packet.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	inner := uint16(h.PayloadOffset + 20)
	p.sameOffloaded(frame, testkit.VNet{Flags: testkit.VNetNeedsChecksum, CsumStart: inner, CsumOffset: 16}, tuples[client])
}

// clients is the frame as the client sends it.
func (p *pairOfBoxes) clients(s packet.Spec) []byte {
	p.ref.macs(&s, client)
	return s.Build()
}

// sameOffloaded sends a frame with an unfinished checksum through both routers, and compares what leaves.
func (p *pairOfBoxes) sameOffloaded(frame []byte, v testkit.VNet, tup packet.Tuple) {
	p.t.Helper()
	var out [2][]byte
	before := p.dut.fast()
	for i, b := range []*box{p.ref, p.dut} {
		port := testkit.OpenPort(p.t, b.r.C0, testkit.PortOptions{VNet: true})
		if err := port.SendVNet(v, frame); err != nil {
			p.t.Fatal(err)
		}
		f, err := b.ports[server].Recv(deadline, func(f testkit.Frame) bool { return ours(f) && len(f.Data) == len(frame) })
		if err != nil {
			p.t.Fatalf("%s: %v", tup, err)
		}
		out[i] = f.Data
	}
	if !bytes.Equal(out[0], out[1]) {
		p.t.Errorf("%s: kernel %x\n datapath %x\n %s", tup, out[0], out[1], packet.Diff(out[0], out[1]))
	}
	if p.dut.fast() == before {
		p.t.Errorf("%s: the packet was not fast: %s", tup, p.dut.reasons())
	}
}
