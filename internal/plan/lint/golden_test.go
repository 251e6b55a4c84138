package lint_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// goldenUpdate rewrites testdata/*.txtar: the findings, and ruleset.json where there is a ruleset.nft (root, nft).
var goldenUpdate = flag.Bool("update", false, "rewrite testdata/*.txtar")

// TestGolden checks that each ruleset of testdata has the findings that its file says. Each is one construct and
// documents it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
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
		if text := section(a, "ruleset.nft"); text != "" {
			setSection(a, "ruleset.json", listed(t, text))
		}
	}
	rs, err := ruleset.Decode([]byte(section(a, "ruleset.json")))
	if err != nil {
		t.Fatal(err)
	}
	var m caps.Machine
	if text := section(a, "machine.json"); text != "" {
		if m, err = caps.Decode([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	got := render(lint.Check(rs, m))
	if *goldenUpdate {
		setSection(a, "findings", got)
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(section(a, "findings"), got); diff != "" {
		t.Errorf("findings (-want +got; go test -update writes them):\n%s", diff)
	}
}

// render writes findings as a person would read them.
func render(fs []lint.Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Severity, f.Reason, f.Place)
		if f.Place.Rule != "" {
			fmt.Fprintf(&b, "\t%s\n", f.Place.Rule)
		}
		fmt.Fprintf(&b, "  %s\n", f.Detail)
		if f.Instead != "" {
			fmt.Fprintf(&b, "  instead:\n\t%s\n", strings.ReplaceAll(f.Instead, "\n", "\n\t"))
		}
	}
	return b.String()
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func setSection(a *txtar.Archive, name, text string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(text)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
}
