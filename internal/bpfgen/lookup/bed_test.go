package lookup_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const (
	// none is what the program of a bed returns for a key that is not there.
	none = 1<<32 - 1
	// workAt is where in the scratch memory what is not the key begins.
	workAt = 8 * tree.MaxWords
	// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
	membarrierGlobal = 1
	// stackAt is the stack that the search gets.
	stackAt = -lookup.StackBytes
)

// memory makes an array map of pages and maps it.
func memory(t testing.TB, page, pages int) (*ebpf.Map, []uint32) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "arena", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(page), MaxEntries: uint32(pages), Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		t.Fatal(err)
	}
	size := (page*pages + unix.Getpagesize() - 1) / unix.Getpagesize() * unix.Getpagesize()
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Munmap(b), m.Close() })
	return m, unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), page*pages/4)
}

// grace waits for all programs that run.
func grace() error {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// newTree makes a tree in a map.
func newTree(t testing.TB, l tree.Layout, elements int, reserved int) (*tree.Tree, *ebpf.Map) {
	t.Helper()
	m, arena := memory(t, l.PageBytes(), l.Pages(elements)+reserved)
	tr, err := tree.New(arena, l, tree.Options{Reserved: reserved, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	return tr, m
}

// emit writes a search.
type emit func(lookup.Site) (asm.Instructions, error)

// program makes a program that takes the words of a key from the packet and returns the data.
func program(t testing.TB, words int, m *ebpf.Map, search emit) *ebpf.Program {
	t.Helper()
	testkit.Need(t, testkit.BPF)
	insns := asm.Instructions{asm.Mov.Reg(asm.R7, asm.R1)}
	insns = append(insns, scratch(t)...)
	insns = append(insns,
		asm.LoadMem(asm.R2, asm.R7, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R7, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(8*words)),
		asm.JGT.Reg(asm.R4, asm.R3, "miss"))
	for w := range words {
		insns = append(insns,
			asm.LoadMem(asm.R4, asm.R2, int16(8*w), asm.DWord),
			asm.StoreMem(asm.R6, int16(8*w), asm.R4, asm.DWord))
	}
	return load(t, insns, words, m, search)
}

// scratch points register 6 to memory of a map.
func scratch(t testing.TB) asm.Instructions {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "scratch", Type: ebpf.Array, KeySize: 4, ValueSize: 256, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return asm.Instructions{asm.LoadMapValue(asm.R6, m.FD(), 0)}
}

// load makes a program of instructions that put the key to register 6, and of a search.
func load(t testing.TB, insns asm.Instructions, words int, m *ebpf.Map, search emit) *ebpf.Program {
	t.Helper()
	site := lookup.Site{
		Map: "arena", Base: asm.R6, Words: lookup.Contiguous(0, words), Stack: stackAt, Work: workAt, Data: asm.R0, Miss: "miss", Label: "a",
	}
	found, err := search(site)
	if err != nil {
		t.Fatal(err)
	}
	insns = append(insns, found...)
	insns = append(insns, asm.Return(), asm.LoadImm(asm.R0, none, asm.DWord).WithSymbol("miss"), asm.Return())
	return finish(t, insns, m)
}

// finish loads a program that looks into a map.
func finish(t testing.TB, insns asm.Instructions, m *ebpf.Map) *ebpf.Program {
	t.Helper()
	if m != nil {
		for i := range insns {
			if insns[i].Reference() == "arena" {
				if err := insns[i].AssociateMap(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: insns, License: "GPL"}, ebpf.ProgramOptions{})
	if refused, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		t.Fatalf("%+v", refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// run looks a key up.
func run(t testing.TB, p *ebpf.Program, key []uint64) uint32 {
	t.Helper()
	packet := make([]byte, max(8*len(key), 64))
	for i, w := range key {
		binary.LittleEndian.PutUint64(packet[8*i:], w)
	}
	ret, err := p.Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		t.Fatal(err)
	}
	return ret
}
