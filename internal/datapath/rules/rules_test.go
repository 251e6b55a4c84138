package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Verdicts of the test's program.
const (
	drops  = 1 // XDP_DROP
	passes = 2 // XDP_PASS
)

// dropper is a program of two chunks for XDP: while the lease lasts, every frame is counted in slot 0 and dropped.
func dropper() *bpfgen.Program {
	return &bpfgen.Program{
		Chunks: []bpfgen.Chunk{
			{Name: "first", Instructions: asm.Instructions{
				asm.Mov.Reg(asm.R6, asm.R1),
				asm.FnJiffies64.Call(),
				asm.LoadMapPtr(asm.R1, 0).WithReference(bpfgen.LeaseMap),
				asm.Mov.Reg(asm.R7, asm.R0),
				asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
				asm.StoreImm(asm.RFP, -4, 0, asm.Word),
				asm.FnMapLookupElem.Call(),
				asm.JEq.Imm(asm.R0, 0, "pass"),
				asm.LoadMem(asm.R0, asm.R0, 0, asm.DWord),
				asm.JGE.Reg(asm.R7, asm.R0, "pass"),
				asm.Mov.Reg(asm.R1, asm.R6),
				asm.LoadMapPtr(asm.R2, 0).WithReference(bpfgen.ChunkMap),
				asm.Mov.Imm(asm.R3, 1),
				asm.FnTailCall.Call(),
				asm.Mov.Imm(asm.R0, passes).WithSymbol("pass"),
				asm.Return(),
			}},
			{Name: "second", Instructions: asm.Instructions{
				asm.StoreImm(asm.RFP, -4, 0, asm.Word),
				asm.LoadMapPtr(asm.R1, 0).WithReference(bpfgen.CounterMap),
				asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
				asm.FnMapLookupElem.Call(),
				asm.JEq.Imm(asm.R0, 0, "out"),
				asm.Mov.Imm(asm.R1, 1),
				asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
				asm.LoadMapPtr(asm.R1, 0).WithReference(bpfgen.ScratchMap),
				asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
				asm.FnMapLookupElem.Call(),
				asm.JEq.Imm(asm.R0, 0, "out"),
				asm.Mov.Imm(asm.R1, 1), // Totals.Dropped comes first
				asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
				asm.Mov.Imm(asm.R0, drops).WithSymbol("out"),
				asm.Return(),
			}},
		},
		Maps: []bpfgen.Map{
			{Name: bpfgen.LeaseMap, Kind: bpfgen.Array, KeySize: 4, ValueSize: 8, Entries: 1, Set: -1},
			{Name: bpfgen.ScratchMap, Kind: bpfgen.PerCPUArray, KeySize: 4, ValueSize: 64, Entries: 1, Set: -1},
			{Name: bpfgen.CounterMap, Kind: bpfgen.PerCPUArray, KeySize: 4, ValueSize: 16, Entries: 1, Set: -1},
			{Name: bpfgen.ChunkMap, Kind: bpfgen.ProgArray, KeySize: 4, ValueSize: 4, Entries: bpfgen.NextSlot + 1, Set: -1},
		},
	}
}

// theRule is what slot 0 counts.
func theRule() Rule {
	return Rule{Family: "netdev", Table: "t", TableHandle: 3, Chain: "c", Handle: 7}
}

func dropping() Device {
	return Device{Name: "r0", Hook: share.XDP, Share: &share.Share{}, Legend: []Rule{theRule()}, Made: dropper()}
}

func open(t *testing.T, dir string) *Programs {
	t.Helper()
	p, err := Open(dir, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pins is a directory for pins that is gone after the test.
func pins(t *testing.T) string {
	t.Helper()
	testkit.Need(t, testkit.BPF)
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("rules-%p", t))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func load(t *testing.T, p *Programs, dev Device) *Loaded {
	t.Helper()
	l, err := p.Load(dev)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return l
}

// send runs a program on n frames and returns its verdict.
func send(t *testing.T, l *Loaded, n int) uint32 {
	t.Helper()
	verdict, err := l.Entry.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: uint32(n)})
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func counted(t *testing.T, p *Programs) (rule, device uint64) {
	t.Helper()
	rules, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	devices, err := p.Totals()
	if err != nil {
		t.Fatal(err)
	}
	return rules[theRule()].Packets, devices["r0"].Dropped
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRulesAreExecutedWhileTheLeaseLasts(t *testing.T) {
	p := open(t, pins(t))
	l := load(t, p, dropping())
	if v := send(t, l, 1); v != passes {
		t.Errorf("before the first renewal: verdict %d", v)
	}
	must(t, p.Renew())
	if v := send(t, l, 3); v != drops {
		t.Errorf("renewed: verdict %d", v)
	}
	must(t, p.Suspend())
	if v := send(t, l, 1); v != passes {
		t.Errorf("suspended: verdict %d", v)
	}
	must(t, p.lease.renew(50*time.Millisecond))
	testkit.MustAwait(t, 5*time.Second, func() error {
		if v := send(t, l, 1); v != passes {
			return errors.New("the lease has not run out")
		}
		return nil
	})
	must(t, l.End())
	must(t, p.Close())
}

func TestCountersOutliveTheirProgram(t *testing.T) {
	p := open(t, pins(t))
	must(t, p.Renew())
	for i := range 3 {
		l := load(t, p, dropping())
		send(t, l, 10)
		if rule, device := counted(t, p); rule != uint64(10*(i+1)) || device != rule {
			t.Errorf("program %d: the rule counts %d, the device %d", i, rule, device)
		}
		must(t, l.End())
		if i == 1 {
			must(t, p.ledger.fold(time.Now().Add(rest)))
		}
		if rule, device := counted(t, p); rule != uint64(10*(i+1)) || device != rule {
			t.Errorf("program %d has ended: the rule counts %d, the device %d", i, rule, device)
		}
	}
	if n := len(p.ledger.gens); n != 1 {
		t.Errorf("%d generations are not in the totals", n)
	}
	must(t, p.Close())
}

// The kernel keeps what is pinned; everything else of the first run is gone.
func TestCountersOutliveACrash(t *testing.T) {
	for _, when := range []string{"running", "ended", "folded", "folded and pinned still"} {
		t.Run(when, func(t *testing.T) {
			dir := pins(t)
			p := open(t, dir)
			must(t, p.Renew())
			l := load(t, p, dropping())
			send(t, l, 10)
			if when != "running" {
				must(t, l.End())
			}
			if when == "folded and pinned still" {
				kept, err := p.ledger.gens[1].scratch.Clone()
				must(t, err)
				must(t, p.ledger.fold(time.Now().Add(rest)))
				must(t, kept.Pin(p.ledger.pin(scratchPin, 1)))
				must(t, kept.Close())
			}
			if when == "folded" {
				must(t, p.ledger.fold(time.Now().Add(rest)))
			}
			next := open(t, dir)
			if rule, device := counted(t, next); rule != 10 || device != 10 {
				t.Errorf("the rule counts %d, the device %d", rule, device)
			}
			if when == "running" {
				send(t, l, 5) // suspended by the new one
				must(t, next.Renew())
				send(t, l, 5)
				if rule, _ := counted(t, next); rule != 15 {
					t.Errorf("the old program goes on: the rule counts %d", rule)
				}
				next.EndOthers()
			}
			m := load(t, next, dropping())
			must(t, next.Renew())
			send(t, m, 1)
			must(t, next.ledger.fold(time.Now().Add(rest)))
			want := uint64(11)
			if when == "running" {
				want = 16
			}
			if rule, device := counted(t, next); rule != want || device != want {
				t.Errorf("at last: the rule counts %d, the device %d", rule, device)
			}
			must(t, m.End())
			must(t, next.Close())
			must(t, p.Close())
		})
	}
}

func TestCountersOfRulesThatAreGoneAreForgotten(t *testing.T) {
	p := open(t, pins(t))
	must(t, p.Renew())
	l := load(t, p, dropping())
	send(t, l, 10)
	must(t, l.End())
	p.Exist(func(r Rule) bool { return r != theRule() })
	must(t, p.ledger.fold(time.Now().Add(rest)))
	if rule, device := counted(t, p); rule != 0 || device != 10 {
		t.Errorf("the rule counts %d, the device %d", rule, device)
	}
	must(t, p.Close())
}

func TestProgramThatTheVerifierRefusesIsNotLoaded(t *testing.T) {
	dir := pins(t)
	p := open(t, dir)
	dev := dropping()
	dev.Made.Chunks[1].Instructions = asm.Instructions{
		asm.LoadMem(asm.R0, asm.R1, 1000, asm.Word), asm.Return(), // behind the context
	}
	_, err := p.Load(dev)
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Chunk != "second" || refused.Said == "" {
		t.Fatalf("%v", err)
	}
	t.Log(err)
	if len(p.ledger.gens) != 0 {
		t.Error("it has counters")
	}
	must(t, p.Close())
}

func TestCountersThatCannotBeReadDoNotKeepRulesFromRunning(t *testing.T) {
	dir := pins(t)
	p := open(t, dir)
	l := load(t, p, dropping())
	must(t, l.End())
	must(t, writeNote(p.ledger.pin(legendPin, 1), []byte("of another version")))
	must(t, p.Close())
	var reported []error
	next, err := Open(dir, func(err error) { reported = append(reported, err) })
	if err != nil || len(reported) != 1 {
		t.Fatalf("%v; reported: %v", err, reported)
	}
	m := load(t, next, dropping())
	must(t, next.Renew())
	if v := send(t, m, 1); v != drops {
		t.Errorf("verdict %d", v)
	}
	must(t, m.End())
	must(t, next.Close())
}
