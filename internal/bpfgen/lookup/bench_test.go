package lookup_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// spread is odd, so n*spread takes all values of 24 bits in an order that looks random: the networks of the benchmark.
const spread = 0x9e3779b1

func network(n int) uint64 { return uint64(n) * spread & (1<<24 - 1) }

// subject is a map of so many networks of 256 addresses, and what looks an address up in it.
type subject struct {
	name  string
	words int
	make  func(b *testing.B, n int) (m *ebpf.Map, bytes int, search emit)
}

func subjects() []subject {
	return []subject{
		{"nothing", 1, func(*testing.B, int) (*ebpf.Map, int, emit) {
			return nil, 0, func(s lookup.Site) (asm.Instructions, error) {
				return asm.Instructions{asm.LoadMem(asm.R0, s.Base, 8, asm.DWord), asm.JNE.Imm(asm.R0, 0, s.Miss)}, nil
			}
		}},
		{"hash", 1, hash},
		{"lpm", 1, lpm},
		{"tree-prefix", 1, func(b *testing.B, n int) (*ebpf.Map, int, emit) { return networks(b, n, 1, 255) }},
		{"tree-range", 1, func(b *testing.B, n int) (*ebpf.Map, int, emit) { return networks(b, n, 1, 100) }},
		{"tuples-1", 2, func(b *testing.B, n int) (*ebpf.Map, int, emit) { return concats(b, n, 1) }},
		{"tuples-8", 2, func(b *testing.B, n int) (*ebpf.Map, int, emit) { return concats(b, n, 8) }},
		{"tree-ip6", 2, func(b *testing.B, n int) (*ebpf.Map, int, emit) { return networks(b, n, 2, 255) }},
	}
}

// networks are a tree of networks, or of the first addresses of each.
func networks(b *testing.B, n, words int, size uint64) (*ebpf.Map, int, emit) {
	l := layout(b, slices.Repeat([]int{64 / (3 - words)}, words))
	tr, m := newTree(b, l, n, 0)
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i] = network(i)
	}
	slices.Sort(numbers)
	start := time.Now()
	err := tr.Build(func(yield func(tree.Element) bool) {
		for _, v := range numbers {
			e := tree.Element{First: []uint64{v << 8}, Last: []uint64{v<<8 + size}}
			if words == 2 {
				e = tree.Element{First: []uint64{v << 8, 0}, Last: []uint64{v << 8, 1<<64 - 1}}
			}
			if !yield(e) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/build")
	return m, tr.Bytes(), func(s lookup.Site) (asm.Instructions, error) { return lookup.Tree(l, s) }
}

// concats are networks with port 80, or with ports of which so many bits are alike: so many tuples.
func concats(b *testing.B, n, tuples int) (*ebpf.Map, int, emit) {
	sp, err := tuple.NewSpace([]int{32, 16}, 0)
	if err != nil {
		b.Fatal(err)
	}
	m, arena := memory(b, sp.Layout().PageBytes(), sp.Pages(n))
	table, err := tuple.New(arena, sp, grace)
	if err != nil {
		b.Fatal(err)
	}
	in := make([]tuple.Element, n)
	for i := range in {
		first, size := network(i)<<8, uint64(1)<<(i%tuples)
		in[i].Key = share.Key{
			{First: space.Number(first), Last: space.Number(first + 255)}, {First: space.Number(80 &^ (size - 1)), Last: space.Number(80 | (size - 1))},
		}
	}
	if err := table.Fill(in, false); err != nil {
		b.Fatal(err)
	}
	return m, table.Tree().Bytes(), func(s lookup.Site) (asm.Instructions, error) { return lookup.Tuples(sp, false, s) }
}

func hash(b *testing.B, n int) (*ebpf.Map, int, emit) {
	keys := make([]uint64, 0, n)
	for i := range n {
		keys = append(keys, network(i)<<8)
	}
	m := filled(b, &ebpf.MapSpec{Name: "arena", Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: uint32(n)}, keys)
	return m, memlock(b, m), func(s lookup.Site) (asm.Instructions, error) { return lookup.Hash(1, s) }
}

func lpm(b *testing.B, n int) (*ebpf.Map, int, emit) {
	keys := make([]uint64, 0, n)
	for i := range n {
		var key [8]byte
		binary.LittleEndian.PutUint32(key[:], 24)
		binary.BigEndian.PutUint32(key[4:], uint32(network(i)<<8))
		keys = append(keys, binary.LittleEndian.Uint64(key[:]))
	}
	m := filled(b, &ebpf.MapSpec{
		Name: "arena", Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 4, MaxEntries: uint32(n), Flags: unix.BPF_F_NO_PREALLOC,
	}, keys)
	return m, memlock(b, m), func(s lookup.Site) (asm.Instructions, error) {
		insns := asm.Instructions{
			asm.LoadMem(asm.R1, s.Base, s.Words[0], asm.DWord),
			asm.HostTo(asm.BE, asm.R1, asm.Word),
			asm.LSh.Imm(asm.R1, 32),
			asm.Or.Imm(asm.R1, 32),
			asm.StoreMem(s.Base, s.Words[0], asm.R1, asm.DWord),
		}
		found, err := lookup.Hash(1, s)
		return append(insns, found...), err
	}
}

func filled(b *testing.B, spec *ebpf.MapSpec, keys []uint64) *ebpf.Map {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	for part := range slices.Chunk(keys, 10000) {
		if _, err := m.BatchUpdate(part, make([]uint32, len(part)), nil); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

func memlock(b *testing.B, m *ebpf.Map) int {
	info, err := m.Info()
	if err != nil {
		b.Fatal(err)
	}
	n, _ := info.Memlock()
	return int(n)
}

// random puts a key to register 6 that is in a network, picked at random. The hash knows only the first address.
func random(b *testing.B, n int, s subject) asm.Instructions {
	insns := scratch(b)
	insns = append(insns,
		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mod.Imm32(asm.R0, int32(n)),
		asm.LoadImm(asm.R2, spread, asm.DWord),
		asm.Mul.Reg(asm.R0, asm.R2),
		asm.And.Imm(asm.R0, 1<<24-1),
		asm.LSh.Imm(asm.R0, 8))
	if s.name != "hash" {
		insns = append(insns, asm.And.Imm(asm.R1, 63), asm.Or.Reg(asm.R0, asm.R1))
	}
	switch {
	case strings.HasPrefix(s.name, "tuples"):
		insns = append(insns, asm.Mov.Imm(asm.R1, 80), asm.StoreMem(asm.R6, 8, asm.R1, asm.DWord))
	case s.words == 2:
		insns = append(insns, asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord), asm.And.Imm(asm.R0, ^0xff))
	}
	return append(insns, asm.StoreMem(asm.R6, 0, asm.R0, asm.DWord))
}

// rounds is how often a benchmark runs, of which the fastest counts.
const rounds = 10

// BenchmarkLookup looks random keys up that are there. Its ns/op has what making the key and running the program costs:
// subtract that of "nothing".
func BenchmarkLookup(b *testing.B) {
	testkit.Need(b, testkit.BPF)
	for _, n := range []int{1000, 100_000, 1_000_000} {
		for _, s := range subjects() {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				m, bytes, search := s.make(b, n)
				p := load(b, random(b, n, s), s.words, m, search)
				b.ReportMetric(float64(bytes)/float64(n), "B/element")
				best := time.Hour
				for range rounds {
					ret, took, err := p.Benchmark(make([]byte, 64), b.N, b.ResetTimer)
					if err != nil {
						b.Fatal(err)
					}
					if ret != 0 {
						b.Fatalf("a key is missing: %d", ret)
					}
					best = min(best, took)
				}
				b.ReportMetric(float64(best.Nanoseconds()), "ns/op")
			})
		}
	}
}
