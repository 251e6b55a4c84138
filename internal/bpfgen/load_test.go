package bpfgen

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// loaded is a program in the kernel.
type loaded struct {
	t     testing.TB
	hook  share.Hook
	p     *Program
	maps  map[string]*ebpf.Map
	progs []*ebpf.Program
	// tag takes a frame's tag from the end of cb and puts it where the receive path would: beside the bytes.
	tag      *ebpf.Program
	verified uint32
}

func mapType(k Kind) ebpf.MapType {
	switch k {
	case Hash:
		return ebpf.Hash
	case Array, Tree:
		return ebpf.Array
	case PerCPUArray:
		return ebpf.PerCPUArray
	default:
		return ebpf.ProgramArray
	}
}

// install compiles a share and loads it with a lease that does not end.
func install(t testing.TB, s share.Share, opts Options) *loaded {
	t.Helper()
	testkit.Need(t, testkit.BPF)
	p, err := Compile(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	l := &loaded{t: t, hook: s.Hook, p: p, maps: map[string]*ebpf.Map{}}
	for _, m := range p.Maps {
		spec := &ebpf.MapSpec{Name: m.Name, Type: mapType(m.Kind), KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.Entries}
		for _, c := range m.Contents {
			spec.Contents = append(spec.Contents, ebpf.MapKV{Key: c.Key, Value: c.Value})
		}
		if m.NoPrealloc {
			spec.Flags = 1 // BPF_F_NO_PREALLOC
		}
		x, err := ebpf.NewMap(spec)
		if err != nil {
			t.Fatalf("make map %s: %v", m.Name, err)
		}
		t.Cleanup(func() { _ = x.Close() })
		l.maps[m.Name] = x
	}
	l.lease(1 << 62)
	for i, c := range p.Chunks {
		prog := l.program(c.Name, c.Instructions)
		l.progs = append(l.progs, prog)
		if err := l.maps[ChunkMap].Put(uint32(i), prog); err != nil {
			t.Fatal(err)
		}
		if info, err := prog.Info(); err == nil {
			n, _ := info.VerifiedInstructions()
			l.verified = max(l.verified, n)
		}
	}
	if s.Hook == share.TC {
		l.tag = l.tagger()
	}
	return l
}

func (l *loaded) lease(until uint64) {
	l.t.Helper()
	if err := l.maps[LeaseMap].Put(uint32(0), until); err != nil {
		l.t.Fatal(err)
	}
}

func (l *loaded) program(name string, ins asm.Instructions) *ebpf.Program {
	l.t.Helper()
	ins = slices.Clone(ins)
	for i := range ins {
		if m := l.maps[ins[i].Reference()]; m != nil && ins[i].IsLoadFromMap() {
			if err := ins[i].AssociateMap(m); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	spec := &ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, Instructions: ins, License: "Dual BSD/GPL"}
	if l.hook == share.TC {
		spec.Type = ebpf.SchedCLS
	}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			n := len(v.Log)
			l.t.Fatalf("load %s: %v\n%s", name, err, joinLines(v.Log[max(0, n-60):]))
		}
		l.t.Fatalf("load %s: %v", name, err)
	}
	l.t.Cleanup(func() { _ = prog.Close() })
	return prog
}

func joinLines(lines []string) string {
	var b []byte
	for _, s := range lines {
		b = append(append(b, s...), '\n')
	}
	return string(b)
}

// tagger makes a program that cuts the packet to cb[2] bytes, which the kernel would not take from BPF_PROG_TEST_RUN,
// pushes the tag in cb[0] (the EtherType) and cb[1], and calls the first chunk.
func (l *loaded) tagger() *ebpf.Program {
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, 56, asm.Word),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkbChangeTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "fail"),
		asm.LoadMem(asm.R2, asm.R6, 48, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 52, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "call"),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("call"),
		asm.LoadMapPtr(asm.R2, 0).WithReference(ChunkMap),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 77).WithSymbol("fail"),
		asm.Return(),
	}
	return l.program("tagger", ins)
}

// skbContext is struct __sk_buff as BPF_PROG_TEST_RUN takes it.
type skbContext struct {
	_  [48]byte
	CB [5]uint32
	_  [192 - 68]byte
}

// run hands a frame to the program and returns what it returns.
func (l *loaded) run(frame []byte) int32 {
	l.t.Helper()
	prog, opts := l.progs[0], &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64)}
	if l.hook == share.TC {
		prog = l.tag
		var ctx skbContext
		if t := binary.BigEndian.Uint16(frame[12:]); t == etherVLAN || t == etherQinQ {
			ctx.CB[0], ctx.CB[1] = uint32(t), uint32(binary.BigEndian.Uint16(frame[14:]))
			opts.Data = slices.Concat(frame[:12], frame[16:])
		}
		ctx.CB[2] = uint32(len(opts.Data))
		opts.Data = slices.Concat(opts.Data, make([]byte, max(0, 80-len(opts.Data))))
		opts.DataOut = make([]byte, len(opts.Data)+64)
		opts.Context = &ctx
	}
	r, err := prog.Run(opts)
	if err != nil {
		l.t.Fatalf("run %x: %v", frame, err)
	}
	return int32(r)
}

// counts are the counters, all CPUs together.
func (l *loaded) counts() []Count {
	l.t.Helper()
	out := make([]Count, len(l.p.Counters))
	for i := range out {
		var cpus []Count
		if err := l.maps[CounterMap].Lookup(uint32(i), &cpus); err != nil {
			l.t.Fatal(err)
		}
		for _, c := range cpus {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out
}

// totals are the program's totals, all CPUs together.
func (l *loaded) totals() Totals {
	l.t.Helper()
	var cpus [][]byte
	if err := l.maps[ScratchMap].Lookup(uint32(0), &cpus); err != nil {
		l.t.Fatal(err)
	}
	var t Totals
	for _, b := range cpus {
		for i, n := range []*uint64{&t.Dropped, &t.Forwarded, &t.Ended, &t.Left, &t.Suspended} {
			*n += binary.NativeEndian.Uint64(b[8*i:])
		}
	}
	return t
}
