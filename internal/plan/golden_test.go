package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
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
	if *goldenUpdate {
		relist(t, a)
	}
	rs, m := input(t, a)
	p := plan.Make(rs, m, plan.Options{})
	got := map[string]string{"plan": p.Text(), "tc": p.TC(), "bpf": bpfgen.Text(p.Shares()), "dot": p.Dot()}
	checkText(t, p.Text())
	for i, f := range a.Files {
		out, ok := got[f.Name]
		if !ok || string(f.Data) == out {
			continue
		}
		if *goldenUpdate {
			a.Files[i].Data = []byte(out)
			continue
		}
		t.Errorf("%s: -want +got, `go test ./internal/plan -run Golden -update` rewrites:\n%s", f.Name, cmp.Diff(string(f.Data), out))
	}
	if *goldenUpdate {
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// relist has nft load ruleset.nft, where there is one, and writes what it lists to ruleset.json.
func relist(t *testing.T, a *txtar.Archive) {
	t.Helper()
	rs := readText(t, a)
	if rs == nil {
		return
	}
	doc := ruleset.Encode(rs, ruleset.EncodeOptions{})
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "ruleset.json" })
	a.Files = append(a.Files, txtar.File{Name: "ruleset.json", Data: lines(t, doc)})
}

// lines puts each object of a ruleset on a line of its own.
func lines(t *testing.T, doc []byte) []byte {
	t.Helper()
	var top struct {
		Objects []json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(doc, &top); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for i, o := range top.Objects {
		if i > 0 {
			b.WriteString(",\n")
		}
		if err := json.Compact(&b, o); err != nil {
			t.Fatal(err)
		}
	}
	return []byte("{\"nftables\": [\n" + b.String() + "\n]}\n")
}

// readText has nft load ruleset.nft in a namespace; nil where there is none.
func readText(t *testing.T, a *txtar.Archive) *ruleset.Ruleset {
	t.Helper()
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "ruleset.nft" })
	if i < 0 {
		return nil
	}
	testkit.Need(t, testkit.Netns, testkit.NFT)
	rs, err := nft.Read(t.Context(), "-", bytes.NewReader(a.Files[i].Data))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// TestTextOfTestdataIsItsJSON: what is shown in nft's language is what is planned.
func TestTextOfTestdataIsItsJSON(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := readText(t, a)
		if text == nil {
			continue
		}
		rs, _ := input(t, a)
		if d := cmp.Diff(text.String(), rs.String()); d != "" {
			t.Errorf("%s: ruleset.nft (-) and ruleset.json (+) differ, -update makes the JSON anew:\n%s", file, d)
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
