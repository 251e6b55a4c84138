package plan_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// goldenUpdate rewrites the expected sections of testdata/*.txtar.
var goldenUpdate = flag.Bool("update", false, "rewrite testdata/*.txtar")

// TestGolden compares plans with testdata/*.txtar; testdata/README.md says what is in them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rs, m := input(t, a)
	p := plan.Make(rs, m, plan.Options{})
	got := map[string]string{"plan": p.Text(), "tc": p.TC(), "bpf": p.BPF(), "dot": p.Dot()}
	checkText(t, p.Text())
	changed := false
	for i, f := range a.Files {
		out, ok := got[f.Name]
		if !ok || string(f.Data) == out {
			continue
		}
		if *goldenUpdate {
			a.Files[i].Data, changed = []byte(out), true
			continue
		}
		t.Errorf("%s: -want +got, `go test ./internal/plan -run Golden -update` rewrites:\n%s", f.Name, cmp.Diff(string(f.Data), out))
	}
	if changed {
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// input reads the ruleset and the machine of an archive.
func input(t *testing.T, a *txtar.Archive) (*ruleset.Ruleset, caps.Machine) {
	t.Helper()
	var rs *ruleset.Ruleset
	var m caps.Machine
	for _, f := range a.Files {
		var err error
		switch f.Name {
		case "ruleset.json":
			rs, err = ruleset.Decode(f.Data)
		case "caps.json":
			m, err = caps.Decode(f.Data)
		case "caps":
			m = machine(t, string(f.Data))
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	if rs == nil {
		t.Fatal("no ruleset.json")
	}
	return rs, m
}

// machine reads lines of a profile and the devices that have it: "mlx5 eth0 eth1".
func machine(t *testing.T, text string) caps.Machine {
	t.Helper()
	var m caps.Machine
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		p, ok := caps.Lookup(words[0])
		if !ok {
			t.Fatalf("no profile %q", words[0])
		}
		one := caps.Assume(p, words[1:]...)
		m.Kernel = one.Kernel
		m.Devices = append(m.Devices, one.Devices...)
	}
	return m
}

// checkText finds lines that are wider than a terminal though they could be broken.
func checkText(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if len([]rune(line)) > 80 && len(strings.Fields(line)) > 2 && len(line)-strings.LastIndexByte(line, ' ') < 60 {
			t.Errorf("line of %d columns: %s", len([]rune(line)), line)
		}
	}
}
