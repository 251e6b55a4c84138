package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

const lintDoc = "../../../docs/lint.md"

const lintHead = `# What plan finds in a ruleset

` + "`nft-offload plan`" + ` says what a ruleset loses or risks by offloading flows, and what keeps it from offloading any. Each finding
has a code ([reasons.md](reasons.md) has all of them with their sources), names the rule, flowtable or device, and says
what to write instead. A finding about a device or a kernel needs a machine that is known: this one, or ` + "`--caps`" + `.

*error*: it offloads nothing, or does not load. *warning*: the rules do something else to offloaded flows, or less is
offloaded than written. *note*: good to know. "No packet arrives" is said only where it is certain; that a rule no longer
sees a flow is said where it may be so.

The order that matters:

` + "```" + `
chain forward {
	type filter hook forward priority filter; policy drop;

	# 1. drops, limits, queues and marks that must see every packet: exclude their flows from 2
	# 2. the flow add
	meta l4proto { tcp, udp } ct state established flow add @f1
	# 3. accept what is established and not offloaded (yet)
	ct state established,related accept
	# 4. decide about new connections
}
` + "```" + `

The examples below are the files of internal/plan/lint/testdata. This page is written from them:
` + "`UPDATE_DOCS=1 go test ./internal/plan/lint`" + `.
`

// TestFindingsAreDocumented compares docs/lint.md with what the rulesets of testdata lead to; UPDATE_DOCS=1 writes it.
func TestFindingsAreDocumented(t *testing.T) {
	want := lintHead + findingsText(examples(t))
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(lintDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(lintDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says; UPDATE_DOCS=1 writes it", lintDoc)
	}
}

// example is a finding and the file that has it.
type example struct {
	file    string
	finding lint.Finding
}

// examples returns one example of each reason: the gravest one, of the first file that has it.
func examples(t *testing.T) map[reason.Reason]example {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	out := map[reason.Reason]example{}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
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
		for _, f := range lint.Check(rs, m) {
			best, have := out[f.Reason]
			if !have || f.Severity < best.finding.Severity || best.finding.Instead == "" && f.Severity == best.finding.Severity {
				out[f.Reason] = example{strings.TrimSuffix(filepath.Base(file), ".txtar"), f}
			}
		}
	}
	return out
}

func findingsText(found map[reason.Reason]example) string {
	var b strings.Builder
	for _, s := range []reason.Scope{reason.Lint, reason.Flowtable, reason.Chain, reason.Device, reason.Machine} {
		var rs []reason.Reason
		for r := range found {
			if r.Scope() == s {
				rs = append(rs, r)
			}
		}
		if len(rs) == 0 {
			continue
		}
		slices.Sort(rs)
		what := s.String()
		if s == reason.Lint {
			what = "rule"
		}
		fmt.Fprintf(&b, "\n## Of %ss\n", what)
		for _, r := range rs {
			writeExample(&b, r, found[r])
		}
	}
	return b.String()
}

func writeExample(b *strings.Builder, r reason.Reason, e example) {
	f := e.finding
	fmt.Fprintf(b, "\n**%s** (%s): %s. `%s`:\n\n```\n", r, f.Severity, r.Info().Text, e.file)
	if f.Place.Rule != "" {
		fmt.Fprintf(b, "%s\n", f.Place.Rule)
	} else {
		fmt.Fprintf(b, "%s\n", f.Place)
	}
	fmt.Fprintf(b, "# %s\n", f.Detail)
	if f.Instead != "" {
		fmt.Fprintf(b, "# instead: %s\n", f.Instead)
	}
	b.WriteString("```\n")
}
