package eval_test

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestKeptCasesCountWhatTheKernelCounted evaluates the cases of testdata. Each has a listing with what the counters of
// the kernel were; test/eval made it, and compares with a living kernel.
func TestKeptCasesCountWhatTheKernelCounted(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string][]byte{}
			for _, f := range a.Files {
				sections[f.Name] = f.Data
			}
			rs, err := ruleset.Decode(sections["counted.json"])
			if err != nil {
				t.Fatal(err)
			}
			e := eval.New(rs, nil)
			for line := range strings.Lines(string(sections["frames"])) {
				e.Run(kept(t, strings.Fields(line)))
			}
			compareCounters(t, e, rs)
		})
	}
}

// kept makes the packet of a line of "frames".
func kept(t *testing.T, words []string) eval.Packet {
	t.Helper()
	data, err := hex.DecodeString(words[len(words)-1])
	if err != nil {
		t.Fatal(err)
	}
	p := eval.Packet{Frame: data, In: &eval.Device{Name: "r0", MAC: &packet.MAC{2, 0, 0, 0, 1, 1}}, NoSocket: true}
	if words[0] == "bridged" {
		p.In = &eval.Device{
			Name: "p0", MAC: &packet.MAC{2, 0, 0, 0, 0, 0x50},
			Bridge: &eval.Device{Name: "br0", MAC: &packet.MAC{2, 0, 0, 0, 0, 0x51}},
		}
	}
	for _, w := range words[1 : len(words)-1] {
		switch ct, _ := strings.CutPrefix(w, "ct:"); w {
		case "forward":
			p.Route, p.Out = eval.RouteForward, &eval.Device{Name: "r1"}
		case "input":
			p.Route = eval.RouteInput
		default:
			if p.CT, err = eval.ParseConntrack(ct); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

// compareCounters compares with the counters that a listing has.
func compareCounters(t *testing.T, e *eval.Evaluator, rs *ruleset.Ruleset) {
	t.Helper()
	seen := 0
	for _, table := range rs.Tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				n := 0
				for _, s := range r.Stmts {
					c, ok := s.(ruleset.Counter)
					if !ok {
						continue
					}
					want := eval.Count{Packets: c.Packets, Bytes: c.Bytes}
					if got := e.Counts(r)[n]; got != want {
						t.Errorf("%s %s rule %d counter %d: got %v, want %v: %s", r.Table, r.Chain, r.Index+1, n+1, got, want, r)
					}
					n++
					seen++
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no counter in the listing")
	}
}
