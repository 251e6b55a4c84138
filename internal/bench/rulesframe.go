package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// sources is what a generator of blocked frames sends: the template from many source addresses, in a scattered order.
type sources struct {
	template    packet.Spec // IPv4, without a UDP checksum
	first, step int         // address i is first + i*step
	count       int
	drop        bool // do not send: what writing frames costs
}

// Offsets in an Ethernet frame with an IPv4 header.
const (
	checkAt = ethernetLen + 10
	srcAt   = ethernetLen + 12
)

// newSources makes the generator. Frames leave by device out.
func newSources(out device, s sources) (*generator, error) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench_sent", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make generator: %w", err)
	}
	s.template.Tuple.Src = netip.AddrPortFrom(netip.IPv4Unspecified(), s.template.Tuple.Src.Port())
	data := s.template.Build()
	prog, err := xdp("bench_send", s.program(data, counter.FD(), out.index))
	if err != nil {
		_ = counter.Close()
		return nil, fmt.Errorf("make generator: %w", err)
	}
	return &generator{prog: prog, counter: counter, data: data, out: out}, nil
}

// program writes the whole frame anew for each packet: the kernel gives pages back that the stack has changed.
func (s sources) program(frame []byte, counter, ifindex int) asm.Instructions {
	const (
		data, end, word, number, sum = asm.R2, asm.R3, asm.R4, asm.R5, asm.R6
	)
	p := asm.Instructions{
		asm.LoadMem(data, asm.R1, 0, asm.Word), // xdp_md.data
		asm.LoadMem(end, asm.R1, 4, asm.Word),  // xdp_md.data_end
		asm.Mov.Reg(word, data),
		asm.Add.Imm(word, int32(len(frame))),
		asm.JGT.Reg(word, end, "abort"),
	}
	for at := 0; at < len(frame); {
		v, size := chunk(frame[at:])
		p = append(p, asm.LoadImm(word, v, asm.DWord), asm.StoreMem(data, int16(at), word, size))
		at += size.Sizeof()
	}
	p = append(p,
		// first + counter++ * stride % count * step
		asm.LoadMapValue(word, counter, 0),
		asm.LoadMem(number, word, 0, asm.DWord),
		asm.Mov.Reg(sum, number),
		asm.Add.Imm(sum, 1),
		asm.StoreMem(word, 0, sum, asm.DWord),
		asm.LoadImm(word, stride, asm.DWord),
		asm.Mul.Reg(number, word),
		asm.Mod.Imm(number, int32(s.count)),
		asm.Mul.Imm(number, int32(s.step)),
		asm.LoadImm(word, int64(s.first), asm.DWord),
		asm.Add.Reg(number, word),
		// RFC 1624: what the address adds to the header's sum, from zero
		asm.Mov.Imm(sum, int32(^binary.BigEndian.Uint16(frame[checkAt:]))),
		asm.Mov.Reg(word, number),
		asm.And.Imm(word, 0xffff),
		asm.Add.Reg(sum, word),
		asm.Mov.Reg(word, number),
		asm.RSh.Imm(word, 16),
		asm.Add.Reg(sum, word),
	)
	for range 2 {
		p = append(p, asm.Mov.Reg(word, sum), asm.RSh.Imm(word, 16), asm.And.Imm(sum, 0xffff), asm.Add.Reg(sum, word))
	}
	p = append(p,
		asm.Xor.Imm(sum, 0xffff),
		asm.HostTo(asm.BE, sum, asm.Half),
		asm.StoreMem(data, checkAt, sum, asm.Half),
		asm.HostTo(asm.BE, number, asm.Word),
		asm.StoreMem(data, srcAt, number, asm.Word),
	)
	if s.drop {
		p = append(p, asm.Mov.Imm(asm.R0, xdpDrop), asm.Return())
	} else {
		p = append(p, asm.Mov.Imm(asm.R1, int32(ifindex)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return())
	}
	return append(p,
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"), // XDP_ABORTED
		asm.Return(),
	)
}

// preview returns the first n frames, without sending them, and leaves the generator at its beginning.
func (g *generator) preview(n int) ([][]byte, error) {
	var frames [][]byte
	for range n {
		out := make([]byte, len(g.data))
		if _, err := g.prog.Run(&ebpf.RunOptions{Data: g.data, DataOut: out}); err != nil {
			return nil, fmt.Errorf("preview frames: %w", err)
		}
		frames = append(frames, out)
	}
	if err := g.counter.Put(uint32(0), uint64(0)); err != nil {
		return nil, fmt.Errorf("preview frames: %w", err)
	}
	return frames, nil
}
