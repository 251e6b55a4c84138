package bench

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// XDP verdicts (include/uapi/linux/bpf.h, enum xdp_action).
const (
	xdpDrop = 1
	xdpPass = 2
)

// sink counts and drops the frames of some lengths that arrive on a device; others, such as neighbour discovery, pass.
type sink struct {
	prog  *ebpf.Program
	count *ebpf.Map // one element, 64 bits; written on the one pinned core
	on    link.Link
}

// newSink makes a sink for frames of these lengths, in bytes; it is not attached yet.
func newSink(lengths ...int) (*sink, error) {
	count, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench_got", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make sink: %w", err)
	}
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Sub.Reg(asm.R3, asm.R2),
	}
	for _, n := range lengths {
		ins = append(ins, asm.JEq.Imm(asm.R3, int32(n), "count"))
	}
	p, err := xdp("bench_sink", append(ins,
		asm.Mov.Imm(asm.R0, xdpPass),
		asm.Return(),
		asm.LoadMapValue(asm.R1, count.FD(), 0).WithSymbol("count"),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
	))
	if err != nil {
		_ = count.Close()
		return nil, err
	}
	return &sink{prog: p, count: count}, nil
}

// redirector sends every frame to another device without a look at it: the limit of what XDP can do.
func redirector(to device) (*ebpf.Program, error) {
	return xdp("bench_raw", asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(to.index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	})
}

func xdp(name string, ins asm.Instructions) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: ins})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return p, nil
}

// attachXDP puts a program on a device of the namespace, natively.
func attachXDP(d device, p *ebpf.Program) (l link.Link, err error) {
	err = d.ns.do(func() error {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: d.index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach XDP to %s: %w", d.name, err)
	}
	return l, nil
}

func (s *sink) attach(d device) (err error) {
	s.on, err = attachXDP(d, s.prog)
	return err
}

func (s *sink) detach() error {
	if s.on == nil {
		return nil
	}
	err := errors.Join(s.on.Detach(), s.on.Close())
	s.on = nil
	return err
}

// received is how many frames have been counted.
func (s *sink) received() (uint64, error) {
	var n uint64
	if err := s.count.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("read frames received: %w", err)
	}
	return n, nil
}

func (s *sink) close() error {
	err := s.detach()
	_ = s.prog.Close()
	_ = s.count.Close()
	return err
}
