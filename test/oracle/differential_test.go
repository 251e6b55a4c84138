package oracle

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
)

var (
	frames = flag.Int("frames", 150, "random frames a flow and direction")
	seed   = flag.Uint64("seed", 1, "seed of the random frames")
)

// guestEnv is set in virtual machines (internal/testkit/vm.InVMEnv).
const guestEnv = "NFT_OFFLOAD_IN_VM"

// TestSameBytesAsKernel sends random frames of established flows, good and bad, through a router with the datapath
// and one without. What leaves must be equal, byte for byte, and most good frames must have been fast.
func TestSameBytesAsKernel(t *testing.T) {
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for _, n := range nats() {
			t.Run(fmt.Sprintf("%s/%s", hook, n.name), func(t *testing.T) {
				p := &pairOfBoxes{t: t, n: n, ref: newBox(t, 0, n.rules), dut: newBox(t, hook, n.rules)}
				for _, proto := range []uint8{packet.TCP, packet.UDP} {
					for _, six := range []bool{false, true} {
						p.compareFlow(proto, six)
					}
				}
			})
		}
	}
}

type pairOfBoxes struct {
	t        *testing.T
	n        nat
	ref, dut *box
	flows    uint16
}

func (p *pairOfBoxes) compareFlow(proto uint8, six bool) {
	p.t.Helper()
	p.flows++
	rnd := rand.New(rand.NewPCG(*seed, uint64(p.flows)))
	want := p.ref.connect(p.ref.tuple(p.n, proto, six, p.flows))
	tuples := p.dut.connect(p.dut.tuple(p.n, proto, six, p.flows))
	if want != tuples {
		p.t.Fatalf("the two kernels translate differently: %v and %v", want, tuples)
	}
	// Two packets each way: learned, paired, ready; as long as any that follows. No two alike, so that none can pass for
	// another.
	for i := range 2 {
		for side, tup := range tuples {
			s := packet.New(tup, make([]byte, 1400))
			s.Payload[0] = byte(i)
			s.Seq += uint32(i * len(s.Payload))
			p.same(side, s, "")
		}
	}
	before := p.dut.fast()
	good, n := 0, *frames
	if os.Getenv(guestEnv) != "" {
		n /= 2 // an emulated machine is twenty times slower
		if p.dut.stacks != (pairing{}) {
			n /= 2 // and there are many pairs
		}
	}
	for i := range n {
		side := i % 2
		s, kind := vary(rnd, packet.New(tuples[side], nil))
		if st := p.dut.stacks[side]; st != nil && kind == "" {
			s, kind = st.spoil(rnd, s)
		}
		if p.ref.flowtable {
			// The kernel's flowtable forwards what is behind the end of the packet; the slow path and we cut it off.
			s.Trailer, s.LenDelta = nil, max(s.LenDelta, 0)
		}
		if kind == "" {
			good++
		}
		p.same(side, s, fmt.Sprintf("seed %d flow %d frame %d %s", *seed, p.flows, i, kind))
	}
	fast := int(p.dut.fast() - before)
	p.t.Logf("%s six=%v: %d of %d good frames were fast", packet.ProtoName(proto), six, fast, good)
	if fast < good*9/10 {
		p.t.Errorf("%s six=%v: %d of %d good frames were fast; %s", packet.ProtoName(proto), six, fast, good, p.dut.reasons())
	}
}

// same passes one frame through both routers and compares.
func (p *pairOfBoxes) same(side int, s packet.Spec, what string) {
	p.t.Helper()
	wrongMAC := s.Dst
	p.ref.macs(&s, side)
	if wrongMAC != (packet.MAC{}) {
		s.Dst = wrongMAC
	}
	frame := s.Build()
	want := p.ref.pass(side, frame, 0)
	got := p.dut.pass(side, frame, len(want))
	slices.SortFunc(want, bytes.Compare)
	slices.SortFunc(got, bytes.Compare)
	if slices.EqualFunc(want, got, bytes.Equal) {
		return
	}
	p.t.Errorf("%s: %s\n in      %x", what, s.Tuple, frame)
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			p.t.Errorf(" only the datapath sent %x", got[i])
		case i >= len(got):
			p.t.Errorf(" only the kernel sent   %x", want[i])
		default:
			p.t.Errorf(" kernel   %x\n datapath %x\n %s", want[i], got[i], packet.Diff(want[i], got[i]))
		}
	}
	p.t.Log(p.dut.reasons())
}

// vary changes a usual packet. The kind is empty when the result may be fast.
func vary(r *rand.Rand, s packet.Spec) (packet.Spec, string) {
	s.Payload = make([]byte, r.IntN(60))
	if r.IntN(4) == 0 {
		s.Payload = make([]byte, r.IntN(1400))
	}
	for i := range s.Payload {
		s.Payload[i] = byte(r.Uint32())
	}
	s.Seq, s.Ack, s.Window = r.Uint32(), r.Uint32(), uint16(r.Uint32())
	s.ID, s.DF = uint16(r.Uint32()), r.IntN(2) == 0
	s.FlowLabel = r.Uint32() & 0xfffff
	s.TTL = uint8(2 + r.IntN(254))
	s.TOS = uint8(r.IntN(4)) // ECN
	if s.Tuple.Proto == packet.TCP {
		s.Flags = packet.ACK | []packet.TCPFlags{0, packet.PSH, packet.ECE, packet.CWR, packet.PSH | packet.ECE}[r.IntN(5)]
		s.TCPOptions = make([]byte, 4*r.IntN(10))
		for i := range s.TCPOptions {
			s.TCPOptions[i] = 1 // no-operation
		}
		s.ReservedTCP = uint8(r.IntN(2))
	} else if s.Tuple.Is4() && r.IntN(8) == 0 {
		s.Wrong |= packet.NoChecksum
	}
	if r.IntN(8) == 0 {
		s.Trailer = make([]byte, 1+r.IntN(20))
	}
	if r.IntN(3) != 0 {
		return s, ""
	}
	return spoil(r, s)
}

// spoil makes a packet that must not be fast, or need not.
func spoil(r *rand.Rand, s packet.Spec) (packet.Spec, string) {
	switch r.IntN(17) {
	case 0:
		s.TTL = uint8(r.IntN(2))
		return s, "ttl"
	case 1:
		s.TOS = uint8(4 + r.IntN(252))
		return s, "dscp"
	case 2:
		s.Wrong |= packet.WrongIPChecksum
		return s, "ip checksum"
	case 3:
		s.Wrong = packet.WrongL4Checksum
		return s, "l4 checksum"
	case 4:
		s.Options = []byte{1, 1, 1, 0}
		s.Extensions = []packet.Extension{{Proto: 60, Body: []byte{1, 4, 0, 0, 0, 0}}}
		return s, "options"
	case 5:
		s.FragOffset = uint16(r.IntN(100))
		s.MF = s.FragOffset == 0 || r.IntN(2) == 0
		return s, "fragment"
	case 6:
		s.Flags |= packet.URG
		s.Urgent = 1
		return s, "urg"
	case 7:
		s.Flags = packet.TCPFlags(r.IntN(256)) &^ (packet.FIN | packet.RST | packet.SYN)
		return s, "tcp flags"
	case 8:
		s.DataOffset = uint8(r.IntN(16))
		return s, "data offset"
	case 9:
		s.LenDelta = r.IntN(80) - 40
		return s, "ip length"
	case 10:
		s.UDPLenDelta = r.IntN(40) - 20
		return s, "udp length"
	case 11:
		s.Dst = packet.MAC{2, 0, 0, 0, 9, 9}
		return s, "another station's"
	case 12:
		s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: uint16(1 + r.IntN(4094))}}
		return s, "vlan"
	case 13:
		s.Version = uint8(r.IntN(16))
		return s, "version"
	case 15:
		// A UDP datagram shorter than its header, in a frame padded as Ethernet does.
		s.Payload, s.Trailer = nil, make([]byte, 26)
		s.LenDelta = -1 - r.IntN(8)
		s.UDPLenDelta = s.LenDelta
		return s, "udp shorter than its header"
	case 14:
		s.IHL = uint8(r.IntN(16))
		return s, "header length"
	default:
		s.Wrong |= packet.PartialChecksum
		return s, "partial checksum"
	}
}
