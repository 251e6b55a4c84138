package plan_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

const planDoc = "../../docs/plan.md"

// TestPlanPageShowsThePlans: a block behind `<!-- testdata: NAME SECTION -->` is that section, and its ruleset in front of
// a plan; UPDATE_DOCS=1 writes it.
func TestPlanPageShowsThePlans(t *testing.T) {
	page, err := os.ReadFile(planDoc)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- testdata: (\\S+) (\\S+) -->\n(\n```\n.*?\n```\n)?(\n```\n.*?\n```\n)?")
	shown := 0
	want := block.ReplaceAllStringFunc(string(page), func(s string) string {
		shown++
		m := block.FindStringSubmatch(s)
		out := "<!-- testdata: " + m[1] + " " + m[2] + " -->\n"
		for _, name := range []string{"ruleset.nft", m[2]} {
			if name == "ruleset.nft" && m[2] != "plan" {
				continue
			}
			out += "\n```\n" + section(t, m[1], name) + "```\n"
		}
		return out
	})
	if shown < 5 {
		t.Errorf("%s shows %d plans", planDoc, shown)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(planDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(page) {
		t.Errorf("%s is not what testdata says; UPDATE_DOCS=1 go test ./internal/plan -run PlanPage writes it", planDoc)
	}
}

// section is a section of a file of testdata.
func section(t *testing.T, file, name string) string {
	t.Helper()
	a, err := txtar.ParseFile("testdata/" + file + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 || strings.TrimSpace(string(a.Files[i].Data)) == "" {
		t.Fatalf("%s has no section %s", file, name)
	}
	return string(a.Files[i].Data)
}
