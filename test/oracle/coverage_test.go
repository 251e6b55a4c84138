package oracle

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// elsewhere names the test that provokes a reason for which one box with one flow is not enough. Some only run in guests.
func elsewhere() map[reason.Reason]string {
	return map[reason.Reason]string{
		reason.Fast:                "TestSameBytesAsKernel",
		reason.SlowPadding:         "TestPaddedSuperPacketGoesSlow",
		reason.EntryOtherHook:      "TestFlowOfAnotherHookIsCarriedThere",
		reason.SeenNoteOld:         "TestPacketsHeldInAQueueTeachNothing",
		reason.SeenCopied:          "TestPacketSeenTwiceEndsItsFlow",
		reason.SeenRedirected:      "TestRedirectedPacketTeachesNothing",
		reason.SeenIPsec:           "TestFlowOutOfIPsecStaysSlow",
		reason.SeenEgressEncap:     "TestFlowWithThreeTagsStaysSlow",
		reason.SeenNoReply:         "TestUnansweredFlowOfTheFlowtableStaysTheKernels",
		reason.SeenAdjacenciesFull: "TestMoreNeighborsThanAdjacencies",
	}
}

// unprovoked says why no test provokes a reason.
func unprovoked() map[reason.Reason]string {
	return map[reason.Reason]string{
		reason.SeenNoNote:   "the programs do not count it any more; its number is kept, because numbers are pinned state",
		reason.SlowNoMemory: "only an allocation of the kernel that fails gets there, and these kernels have no fault injection",
	}
}

func TestEveryReasonHasATestOrAnExcuse(t *testing.T) {
	names := identifiers(t)
	tests := testsByName(t)
	where, excuses := elsewhere(), unprovoked()
	for i, r := range datapath.Reasons() {
		proofs := 0
		if slices.ContainsFunc(refusals(), func(f refusal) bool { return f.reason == r }) {
			proofs++
		}
		if name, ok := where[r]; ok {
			proofs++
			switch file := tests[name]; {
			case file == nil:
				t.Errorf("%s: there is no test %s", r, name)
			case r != reason.Fast && !mentions(file, names[i]):
				t.Errorf("%s: the file of %s does not name reason.%s", r, name, names[i])
			}
		}
		if excuses[r] != "" {
			proofs++
		}
		if proofs != 1 {
			t.Errorf("%s (reason.%s) has %d of: a case in refusals, a test in elsewhere, an excuse in unprovoked", r, names[i], proofs)
		}
	}
}

// identifiers are the Go names of the reasons, in order.
func identifiers(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../internal/datapath/reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		list, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		for _, e := range list.Elts {
			names = append(names, e.(*ast.SelectorExpr).Sel.Name)
		}
		return false
	})
	if want := len(datapath.Reasons()); len(names) != want {
		t.Fatalf("%d names instead of %d: %v", len(names), want, names)
	}
	return names
}

// testsByName maps each test of this directory, guests' included, to its file.
func testsByName(t *testing.T) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]*ast.File{}
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(fmt.Errorf("parse %s: %w", path, err))
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				tests[fn.Name.Name] = f
			}
		}
	}
	return tests
}

// mentions says whether the file names reason.NAME.
func mentions(f *ast.File, name string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "reason" {
				found = true
			}
		}
		return !found
	})
	return found
}
