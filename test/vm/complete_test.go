package vm_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// everyGuestTestRan finds tests that only a guest has and no group runs.
func everyGuestTestRan(t *testing.T, ran vm.Ran) {
	t.Helper()
	for pkg, files := range guestFiles(t) {
		for _, file := range files {
			for _, name := range testsIn(t, file) {
				if !slices.Contains(ran.Tests[pkg], name) {
					t.Errorf("%s: %s ran in no group of suite", pkg, name)
				}
			}
		}
	}
}

// guestFiles returns the test files that have the build tag, by import path.
func guestFiles(t *testing.T) map[string][]string {
	t.Helper()
	const each = `{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}} {{.}}{{"\n"}}{{end}}`
	list := func(flags ...string) []string {
		out, err := exec.Command("go", slices.Concat([]string{"list", "-e", "-f", each}, flags, []string{module + "/..."})...).Output()
		if err != nil {
			t.Fatalf("list test files: %v", err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	everywhere := list()
	found := map[string][]string{}
	for _, line := range list("-tags", "guest") {
		f := strings.Fields(line)
		if len(f) != 3 || slices.Contains(everywhere, line) {
			continue
		}
		found[f[0]] = append(found[f[0]], filepath.Join(f[1], f[2]))
	}
	if len(found) == 0 {
		t.Error("no test file has the build tag guest")
	}
	return found
}

// testsIn returns the names of a file's test functions.
func testsIn(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names
}
