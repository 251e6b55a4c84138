package bench

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// frameLen is the length of a measured frame without its check sequence, in bytes, either family.
const frameLen = 64

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES: redirected frames really leave (include/uapi/linux/bpf.h, Linux 5.18).
const liveFrames = 1 << 1

// Flow i has client port 16384 + i%32768 and server port 5000 + i/32768: the masquerade can keep every port, so that
// the reply's ports are known.
const (
	clientPort = 16384
	serverPort = 5000
	portBits   = 15
)

// stride is odd, so that i*stride modulo a power of two visits every flow once before it comes again, and large, so
// that flows come in no order that a cache could guess.
const stride = 0x9e3779b1

// generator sends frames of many flows into one device.
type generator struct {
	prog    *ebpf.Program
	counter *ebpf.Map // one element: frames written so far, 64 bits
	data    []byte
	out     device
}

// direction says whose ports are the source.
type direction bool

const (
	fromClient direction = false
	fromServer direction = true
)

// stream is what a generator sends: frames like the template, spread over flows first ... first+flows-1.
type stream struct {
	template packet.Spec // ports are overwritten
	dir      direction
	first    int
	flows    int // a power of two
}

// newGenerator makes the generator of a stream that leaves by device out.
func newGenerator(out device, s stream) (*generator, error) {
	if s.flows <= 0 || s.flows&(s.flows-1) != 0 {
		return nil, fmt.Errorf("make generator: %d flows is not a power of two", s.flows)
	}
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench_sent", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make generator: %w", err)
	}
	data := s.frame()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_send", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: s.program(data, counter.FD(), out.index),
	})
	if err != nil {
		_ = counter.Close()
		return nil, fmt.Errorf("make generator: %w", err)
	}
	return &generator{prog: prog, counter: counter, data: data, out: out}, nil
}

// frame is the template with both ports zero, so that its checksum needs only theirs added.
func (s stream) frame() []byte {
	t := s.template
	t.Tuple.Src = netipPort(t.Tuple.Src, 0)
	t.Tuple.Dst = netipPort(t.Tuple.Dst, 0)
	return t.Build()
}

// program writes the whole frame anew, because the kernel gives the generator back the pages that the router changed.
func (s stream) program(frame []byte, counter, ifindex int) asm.Instructions {
	l4 := frameL4(frame)
	check := l4 + 6 // struct udphdr
	if s.template.Tuple.Proto == packet.TCP {
		check = l4 + 16 // struct tcphdr
	}
	const (
		data, end, word, client, server, sum = asm.R2, asm.R3, asm.R4, asm.R5, asm.R6, asm.R7
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
	src, dst := client, server
	if s.dir == fromServer {
		src, dst = server, client
	}
	p = append(p,
		// i = first + counter++ * stride % flows
		asm.LoadMapValue(word, counter, 0),
		asm.LoadMem(client, word, 0, asm.DWord),
		asm.Mov.Reg(server, client),
		asm.Add.Imm(server, 1),
		asm.StoreMem(word, 0, server, asm.DWord),
		asm.LoadImm(word, stride, asm.DWord),
		asm.Mul.Reg(client, word),
		asm.And.Imm(client, int32(s.flows-1)),
		asm.Add.Imm(client, int32(s.first)),
		asm.Mov.Reg(server, client),
		asm.RSh.Imm(server, portBits),
		asm.Add.Imm(server, serverPort),
		asm.And.Imm(client, 1<<portBits-1),
		asm.Add.Imm(client, clientPort),
		// RFC 1624: what the ports add to the sum, from zero
		asm.Mov.Imm(sum, int32(^binary.BigEndian.Uint16(frame[check:]))),
		asm.Add.Reg(sum, client),
		asm.Add.Reg(sum, server),
	)
	for range 2 {
		p = append(p, asm.Mov.Reg(word, sum), asm.RSh.Imm(word, 16), asm.And.Imm(sum, 0xffff), asm.Add.Reg(sum, word))
	}
	p = append(p,
		asm.Xor.Imm(sum, 0xffff),
		asm.JNE.Imm(sum, 0, "sum"),
		asm.Mov.Imm(sum, 0xffff), // 0 would say that there is none; for TCP both mean the same
		asm.HostTo(asm.BE, sum, asm.Half).WithSymbol("sum"),
		asm.StoreMem(data, int16(check), sum, asm.Half),
		asm.HostTo(asm.BE, client, asm.Half),
		asm.HostTo(asm.BE, server, asm.Half),
		asm.StoreMem(data, int16(l4), src, asm.Half),
		asm.StoreMem(data, int16(l4+2), dst, asm.Half),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"), // XDP_ABORTED
		asm.Return(),
	)
	return p
}

// chunk is the longest piece that one instruction stores, as the number that it must be given.
func chunk(b []byte) (int64, asm.Size) {
	switch {
	case len(b) >= 8:
		return int64(binary.NativeEndian.Uint64(b)), asm.DWord
	case len(b) >= 4:
		return int64(binary.NativeEndian.Uint32(b)), asm.Word
	case len(b) >= 2:
		return int64(binary.NativeEndian.Uint16(b)), asm.Half
	default:
		return int64(b[0]), asm.Byte
	}
}

// send sends about n frames (a whole number of the kernel's batches of 64) and returns how many it was. It blocks
// until they are on their way; a veth hands them on meanwhile.
func (g *generator) send(n int) (int, error) {
	before, err := g.sent()
	if err != nil {
		return 0, err
	}
	err = g.out.ns.do(func() error {
		_, err := g.prog.Run(&ebpf.RunOptions{Data: g.data, Repeat: uint32(n), Flags: liveFrames})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("send frames: %w", err)
	}
	after, err := g.sent()
	return int(after - before), err
}

func (g *generator) sent() (uint64, error) {
	var n uint64
	if err := g.counter.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("read frames sent: %w", err)
	}
	return n, nil
}

func (g *generator) close() {
	_ = g.prog.Close()
	_ = g.counter.Close()
}
