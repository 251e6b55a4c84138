package lookup_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const (
	// stable is how many networks are there all the time, and changing how many come and go between them.
	stable, changing = 2000, 2000
	// hosts is how many addresses of a network are in its interval.
	hosts = 100
)

// stableNetwork and changingNetwork lie side by side.
func stableNetwork(i uint64) uint64   { return 2*i + 1 }
func changingNetwork(i uint64) uint64 { return 2 * i }

// watcher makes a program that looks an address of a random stable network up. It returns 0 if the answer is right, and
// counts those that are wrong in the map that it comes with.
func watcher(t *testing.T, m *ebpf.Map, words int, search emit) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	wrong, err := ebpf.NewMap(&ebpf.MapSpec{Name: "wrong", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = wrong.Close() })
	insns := scratch(t)
	insns = append(insns,
		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(asm.R8, asm.R0), // the network
		asm.Mod.Imm32(asm.R8, stable),
		asm.Mov.Reg(asm.R9, asm.R0), // the host
		asm.RSh.Imm(asm.R9, 24),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.LSh.Imm(asm.R1, 1),
		asm.Add.Imm(asm.R1, 1),
		asm.LSh.Imm(asm.R1, 8),
		asm.Or.Reg(asm.R1, asm.R9),
		asm.StoreMem(asm.R6, 0, asm.R1, asm.DWord))
	for w := 1; w < words; w++ {
		insns = append(insns, asm.Mov.Imm(asm.R1, 80), asm.StoreMem(asm.R6, int16(8*w), asm.R1, asm.DWord))
	}
	found, err := search(lookup.Site{
		Map: "arena", Base: asm.R6, Words: lookup.Contiguous(0, words), Stack: stackAt, Work: workAt, Data: asm.R7, Miss: "miss", Label: "a",
	})
	if err != nil {
		t.Fatal(err)
	}
	insns = append(insns, found...)
	insns = append(insns,
		asm.JGE.Imm(asm.R9, hosts, "wrong"), // must not be there
		asm.JNE.Reg(asm.R7, asm.R8, "wrong"),
		asm.Ja.Label("right"),
		asm.JGE.Imm(asm.R9, hosts, "right").WithSymbol("miss"),
		asm.LoadMapValue(asm.R1, wrong.FD(), 0).WithSymbol("wrong"),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("right"),
		asm.Return())
	return finish(t, insns, m), wrong
}

// watch looks keys up on one CPU while another one makes changes, and counts the wrong answers.
func watch(t *testing.T, p *ebpf.Program, wrong *ebpf.Map, change func() error) {
	t.Helper()
	done := make(chan error, 1)
	const lookups = 4_000_000
	go func() {
		_, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: lookups})
		done <- err
	}()
	for changes := 0; ; changes++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			var n uint64
			if err := wrong.Lookup(uint32(0), &n); err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				t.Errorf("%d of %d answers are wrong", n, lookups)
			}
			if changes == 0 {
				t.Error("nothing was changed meanwhile")
			}
			t.Logf("%d changes in %d lookups", changes, lookups)
			return
		default:
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadersNeverMissWhatIsThere(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	for _, bits := range [][]int{{32}, {64, 64}} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			l := layout(t, bits)
			words := l.Words()
			// Just enough pages that they are soon used again.
			m, arena := memory(t, l.PageBytes(), l.FixedPages(2*(stable+changing)))
			graces := 0
			tr, err := tree.New(arena, l, tree.Options{Grace: func() error { graces++; return grace() }})
			if err != nil {
				t.Fatal(err)
			}
			element := func(network uint64, data uint64) tree.Element {
				e := tree.Element{First: []uint64{network << 8}, Last: []uint64{network<<8 + hosts - 1}, Data: uint32(data)}
				if words == 2 {
					e.First, e.Last = append(e.First, 0), append(e.Last, 1<<64-1)
				}
				return e
			}
			for i := range uint64(stable) {
				if err := tr.Insert(element(stableNetwork(i), i)); err != nil {
					t.Fatal(err)
				}
			}
			p, wrong := watcher(t, m, words, func(s lookup.Site) (asm.Instructions, error) { return lookup.Tree(l, s) })
			there := make([]bool, changing)
			r := rand.New(rand.NewPCG(1, 2))
			watch(t, p, wrong, func() error {
				// A run of them, so that pages are split and joined.
				from, n := r.Uint64N(changing), 1+r.Uint64N(40)
				var gone, come []tree.Element
				for i := from; i < min(from+n, changing); i++ {
					if e := element(changingNetwork(i), 1<<31); there[i] {
						gone = append(gone, e)
					} else {
						come = append(come, e)
					}
					there[i] = !there[i]
				}
				return tr.Apply(gone, come)
			})
			t.Logf("waited %d times for readers", graces)
		})
	}
}

func TestReadersOfTuplesNeverMissWhatIsThere(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	sp, err := tuple.NewSpace([]int{32, 16}, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, arena := memory(t, sp.Layout().PageBytes(), sp.Pages(2*(stable+changing)))
	table, err := tuple.New(arena, sp, grace)
	if err != nil {
		t.Fatal(err)
	}
	element := func(network uint64, port, ports uint64, data uint64) tuple.Element {
		return tuple.Element{Data: uint32(data), Key: share.Key{
			{First: space.Number(network << 8), Last: space.Number(network<<8 + hosts - 1)}, {First: space.Number(port), Last: space.Number(port + ports)},
		}}
	}
	var all []tuple.Element
	for i := range uint64(stable) {
		all = append(all, element(stableNetwork(i), 80, 0, i))
	}
	if err := table.Fill(all, false); err != nil {
		t.Fatal(err)
	}
	p, wrong := watcher(t, m, 2, func(s lookup.Site) (asm.Instructions, error) { return lookup.Tuples(sp, false, s) })
	r := rand.New(rand.NewPCG(1, 2))
	var there []tuple.Element
	watch(t, p, wrong, func() error {
		// Ports next to those that stay, in tuples that come and go.
		gone := there
		size := uint64(1) << r.IntN(16)
		port := (80 + size) &^ (size - 1)
		there = nil
		for i := range 1 + r.Uint64N(20) {
			there = append(there, element(changingNetwork(100*i+r.Uint64N(100)), port, size-1, 1<<31))
		}
		return table.Apply(gone, there)
	})
	t.Logf("%d tuples", table.Tuples())
}
