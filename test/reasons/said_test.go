package reasons

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestEachReasonIsProduced: each reason of rules, chains, flowtables and findings is in what plan or lint say of some
// ruleset: one of their testdata, one of this test's, or one that it makes.
func TestEachReasonIsProduced(t *testing.T) {
	seen := map[string]bool{}
	goldenCodes(t, seen)
	rareCodes(t, seen)
	for _, rs := range made() {
		say(seen, rs, assume(t, "mlx5", "eth0"))
	}
	for _, s := range []reason.Scope{reason.Rule, reason.Chain, reason.Flowtable, reason.Lint} {
		for _, r := range reason.Of(s) {
			if !seen[r.Code()] {
				t.Errorf("%s: neither plan nor lint says it of any ruleset in testdata", r)
			}
		}
	}
}

// TestEachReasonOfFlowsAndPacketsIsSaidByACommand reads what `why`, `trace` and `plan` print in their own tests. That package
// contract knows a reason does not count: somebody has to be able to ask.
func TestEachReasonOfFlowsAndPacketsIsSaidByACommand(t *testing.T) {
	seen := map[string]bool{}
	goldenCodes(t, seen)
	for _, file := range []string{"../../internal/why/testdata/flows.golden", "../../cmd/nft-offload/testdata/trace/offload.golden"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words(seen, string(b))
	}
	for _, s := range []reason.Scope{reason.Flow, reason.Packet} {
		for _, r := range reason.Of(s) {
			if !seen[r.Code()] {
				t.Errorf("%s: no command says it in the expected output of a test", r)
			}
		}
	}
}

func assume(t *testing.T, profile string, devices ...string) caps.Machine {
	t.Helper()
	p, ok := caps.Lookup(profile)
	if !ok {
		t.Fatalf("no profile %q", profile)
	}
	return caps.Assume(p, devices...)
}

// say notes the codes that plan and lint give for a ruleset.
func say(seen map[string]bool, rs *ruleset.Ruleset, m caps.Machine) {
	p := plan.Make(rs, m, plan.Options{})
	words(seen, p.Text())
	words(seen, p.TC())
	words(seen, plan.Make(rs, m, plan.Options{SetsChange: true}).Text())
	for _, f := range lint.Check(rs, m) {
		seen[f.Reason.Code()] = true
	}
}

func words(seen map[string]bool, text string) {
	for _, w := range regexp.MustCompile(`[a-z0-9]+(-[a-z0-9]+)*`).FindAllString(text, -1) {
		seen[w] = true
	}
}

// goldenCodes notes the words of the expected output of the testdata of plan and lint, whose own tests compare it.
func goldenCodes(t *testing.T, seen map[string]bool) {
	t.Helper()
	for _, dir := range []string{"../../internal/plan/testdata", "../../internal/plan/lint/testdata"} {
		for _, file := range archives(t, dir) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range a.Files {
				if slices.Contains([]string{"plan", "tc", "findings"}, f.Name) {
					words(seen, string(f.Data))
				}
			}
		}
	}
}

func archives(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	return files
}

// rareCodes plans the rulesets of testdata/rare.txtar: a line "PROFILE CODE...", then the ruleset that has these codes.
func rareCodes(t *testing.T, seen map[string]bool) {
	t.Helper()
	a, err := txtar.ParseFile("testdata/rare.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		head, doc, _ := strings.Cut(string(f.Data), "\n")
		rs, err := ruleset.Decode([]byte(doc))
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		want := strings.Fields(head)
		one := map[string]bool{}
		say(one, rs, assume(t, want[0], "eth0", "eth1"))
		for _, code := range want[1:] {
			if !one[code] {
				t.Errorf("%s: no %s in\n%s", f.Name, code, plan.Make(rs, assume(t, want[0], "eth0", "eth1"), plan.Options{}).Text())
			}
			seen[code] = true
		}
	}
}

// made are rulesets that are too large for a file, or that no document can have.
func made() []*ruleset.Ruleset {
	devices := []string{}
	for i := range 257 {
		devices = append(devices, fmt.Sprintf("eth%d", i))
	}
	many := &ruleset.Table{Family: ruleset.Inet, Name: "t", Flowtables: []*ruleset.Flowtable{
		{Family: ruleset.Inet, Table: "t", Name: "f", Hook: "ingress", Devices: devices},
	}}
	// A preference of tc is of one protocol: these rules take eight each.
	full := &ruleset.Chain{Family: ruleset.Netdev, Table: "t", Name: "c", Base: &ruleset.Base{
		Type: "filter", Hook: "ingress", Devices: []string{"eth0"},
	}}
	for i := range (plan.PrefLast-plan.PrefFirst)/8 + 2 {
		full.Rules = append(full.Rules, &ruleset.Rule{
			Family: ruleset.Netdev, Table: "t", Chain: "c", Handle: i + 2, Index: i, Stmts: []ruleset.Stmt{
				ruleset.Match{Op: "==", Left: ruleset.Meta{Key: "protocol"}, Right: ruleset.SetLit{
					ruleset.Str("ip"), ruleset.Str("ip6"), ruleset.Str("arp"), ruleset.Num(0x8847),
					ruleset.Num(0x8848), ruleset.Num(0x888e), ruleset.Num(0x88cc), ruleset.Num(0x88f7),
				}},
				ruleset.Match{
					Op: "==", Left: ruleset.Payload{Proto: "ether", Field: "saddr"},
					Right: ruleset.Str(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)),
				},
				ruleset.Verdict{Kind: ruleset.Drop},
			},
		})
	}
	misread := &ruleset.Chain{Family: ruleset.Netdev, Table: "t", Name: "c", Base: full.Base, Rules: []*ruleset.Rule{{
		Family: ruleset.Netdev, Table: "t", Chain: "c", Handle: 2, Stmts: full.Rules[0].Stmts, Misread: "it is another one",
	}}}
	return []*ruleset.Ruleset{
		{Tables: []*ruleset.Table{{Family: ruleset.Netdev, Name: "t", Chains: []*ruleset.Chain{misread}}}},
		{Tables: []*ruleset.Table{many}},
		{Tables: []*ruleset.Table{{Family: ruleset.Netdev, Name: "t", Chains: []*ruleset.Chain{full}}}},
	}
}

// TestEachReasonIsSaid looks for every reason in the source of the program: one that nothing says is no reason. Those of
// flows and packets, which package contract gives, have a test of their own.
func TestEachReasonIsSaid(t *testing.T) {
	said := map[string]bool{}
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "reason" || e.Name() == "contract"):
				return filepath.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			return selectors(path, said)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	names := constants(t)
	if len(names) != len(reason.All()) {
		t.Fatalf("%d constants for %d reasons", len(names), len(reason.All()))
	}
	for i, r := range reason.All() {
		if s := r.Scope(); s != reason.Flow && s != reason.Packet && !said[names[i]] {
			t.Errorf("reason.%s (%s): nothing says it", names[i], r)
		}
	}
}

// selectors notes the X of each reason.X in a file.
func selectors(path string, said map[string]bool) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "reason" {
				said[sel.Sel.Name] = true
			}
		}
		return true
	})
	return nil
}

// constants returns the names of the reasons in the order of their numbers.
func constants(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, file := range []string{"rule", "chain", "flowtable", "flow", "packet", "device", "machine", "lint", "use", "xdp", "fastpath", "seen"} {
		f, err := parser.ParseFile(token.NewFileSet(), "../../internal/reason/"+file+".go", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				if name := s.(*ast.ValueSpec).Names[0].Name; ast.IsExported(name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}
