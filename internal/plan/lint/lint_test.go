package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// FuzzCheck looks for rulesets that stop it: it must end, and say the same of the same ruleset twice.
func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(section(a, "ruleset.json")), []byte(section(a, "machine.json")))
	}
	f.Fuzz(func(t *testing.T, doc, machine []byte) {
		rs, err := ruleset.Decode(doc)
		if err != nil {
			return
		}
		m, err := caps.Decode(machine)
		if err != nil {
			m = caps.Machine{}
		}
		first, second := render(lint.Check(rs, m)), render(lint.Check(rs, m))
		if first != second {
			t.Errorf("two answers:\n%s\n%s", first, second)
		}
	})
}

// TestFindingsAreComplete: whatever is found has a reason of a fitting scope, a place and a sentence.
func TestFindingsAreComplete(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
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
			if f.Reason == reason.None || f.Severity.String() == "unknown" || f.Detail == "" || f.Place.String() == "" {
				t.Errorf("%s: %+v", file, f)
			}
			if strings.Contains(f.Detail+f.Instead, "\n") {
				t.Errorf("%s: more than a line: %q, %q", file, f.Detail, f.Instead)
			}
			if strings.HasSuffix(f.Detail, ".") || strings.Contains(f.Detail, "%!") || strings.Contains(f.Instead, "%!") {
				t.Errorf("%s: %q, %q", file, f.Detail, f.Instead)
			}
		}
	}
}

// TestExamplesHaveNoFinding: what the project shows as good is good.
func TestExamplesHaveNoFinding(t *testing.T) {
	for _, name := range []string{"router.nft", "forward-offload.nft"} {
		text, err := os.ReadFile(filepath.Join("../../../examples", name))
		if err != nil {
			t.Fatal(err)
		}
		rs, err := ruleset.Decode([]byte(listed(t, defined(string(text)))))
		if err != nil {
			t.Fatal(err)
		}
		if got := render(lint.Check(rs, caps.Machine{})); got != "" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// defined puts in what `define` defines: listed takes flowtables out before nft sees them.
func defined(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "define" {
			text = strings.ReplaceAll(text, "$"+f[1], f[3])
		}
	}
	return text
}

// BenchmarkCheck prints how time grows: a chain of rules of all kinds, each jumping now and then, and a large set.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		rs := large(n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lint.Check(rs, caps.Machine{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/rule")
		})
	}
}

// TestWorkGrowsWithTheNumberOfRules: ten times the rules take ten times the memory, and 10,000 rules with a set of as
// many elements less than two seconds on any machine.
func TestWorkGrowsWithTheNumberOfRules(t *testing.T) {
	small, big := large(1_000), large(10_000)
	allocs := func(rs *ruleset.Ruleset) float64 {
		return testing.AllocsPerRun(1, func() { lint.Check(rs, caps.Machine{}) })
	}
	start := time.Now()
	few, many := allocs(small), allocs(big)
	took := time.Since(start)
	t.Logf("1,000 rules: %.0f allocations, 10,000 rules: %.0f; all in %v", few, many, took)
	if many > 12*few {
		t.Errorf("1,000 rules: %.0f allocations, 10,000 rules: %.0f", few, many)
	}
	if took > 4*time.Second { // each twice
		t.Errorf("it took %v", took)
	}
}

// large makes a ruleset of n rules in a forward chain and in chains that it jumps to, which jump to one another.
func large(n int) *ruleset.Ruleset {
	t := &ruleset.Table{Family: ruleset.Inet, Name: "t"}
	t.Flowtables = []*ruleset.Flowtable{{Family: ruleset.Inet, Table: "t", Name: "f1", Hook: "ingress", Devices: []string{"eth0", "eth1"}}}
	set := &ruleset.Set{Family: ruleset.Inet, Table: "t", Name: "s", Type: []string{"ipv4_addr"}}
	for i := range n {
		set.Elems = append(set.Elems, ruleset.Str(fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)))
	}
	t.Sets = []*ruleset.Set{set}
	forward := &ruleset.Chain{Family: ruleset.Inet, Table: "t", Name: "forward", Base: &ruleset.Base{Type: "filter", Hook: "forward"}}
	t.Chains = []*ruleset.Chain{forward}
	const chains = 20
	for i := range chains {
		t.Chains = append(t.Chains, &ruleset.Chain{Family: ruleset.Inet, Table: "t", Name: fmt.Sprintf("c%d", i)})
	}
	for i := range n {
		at := i % len(t.Chains)
		c := t.Chains[at]
		r := &ruleset.Rule{Family: ruleset.Inet, Table: "t", Chain: c.Name, Handle: i + 1, Index: len(c.Rules)}
		r.Stmts = []ruleset.Stmt{
			ruleset.Match{Op: "==", Left: ruleset.Meta{Key: "iifname"}, Right: ruleset.Str(fmt.Sprintf("eth%d", i%40))},
			ruleset.Match{Op: "==", Left: ruleset.Payload{Proto: "ip", Field: "saddr"}, Right: ruleset.SetRef("s")},
			ruleset.Counter{},
		}
		switch {
		case at < chains && i%3 == 0:
			r.Stmts = append(r.Stmts, ruleset.Verdict{Kind: ruleset.Jump, Target: fmt.Sprintf("c%d", at)})
		case i%3 == 1:
			r.Stmts = append(r.Stmts, ruleset.Verdict{Kind: ruleset.Drop})
		}
		c.Rules = append(c.Rules, r)
	}
	forward.Rules = append(forward.Rules, &ruleset.Rule{Family: ruleset.Inet, Table: "t", Chain: "forward", Handle: n + 1, Stmts: []ruleset.Stmt{ruleset.FlowAdd{Op: "add", Flowtable: "f1"}}})
	return &ruleset.Ruleset{Tables: []*ruleset.Table{t}}
}

// TestLoweredRulesetIsKnown: the comment of a lowered flowtable is the one that package handover looks for.
func TestLoweredRulesetIsKnown(t *testing.T) {
	a, err := txtar.ParseFile("testdata/lowered.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if text := section(a, "ruleset.json"); !strings.Contains(text, handover.LoweredComment) {
		t.Errorf("%q is not in testdata/lowered.txtar", handover.LoweredComment)
	}
}

// TestRulesOfFilesAreNamedByPlace: a ruleset that was read from a file has no handles.
func TestRulesOfFilesAreNamedByPlace(t *testing.T) {
	a, err := txtar.ParseFile("testdata/articles_order.txtar")
	if err != nil {
		t.Fatal(err)
	}
	rs, err := ruleset.Decode([]byte(section(a, "ruleset.json")))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs.Tables[0].Chains[0].Rules {
		r.Handle = 0
	}
	got := render(lint.Check(rs, caps.Machine{}))
	for _, want := range []string{"ip filter forward rule 2\n", "(rule 1), above it"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
