package vm

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestBinary is a compiled test package. Compile it once and run it under every kernel.
type TestBinary struct {
	pkg  string // import path
	dir  string // of the package's source: tests run there
	path string
}

// BuildTest compiles a package's tests, with the build tag "guest": tests that need what only a guest has are in files
// with that tag. The file lasts as long as t.
func BuildTest(t testing.TB, pkg string) *TestBinary {
	t.Helper()
	testkit.Need(t, testkit.QEMU)
	list, err := exec.Command("go", "list", "-tags", "guest", "-f", "{{.ImportPath}}\t{{.Dir}}", pkg).Output()
	if err != nil {
		t.Fatalf("find package %s: %v", pkg, err)
	}
	path, dir, ok := strings.Cut(strings.TrimSpace(string(list)), "\t")
	if !ok || strings.Contains(dir, "\n") {
		t.Fatalf("find package %s: not one package: %s", pkg, list)
	}
	b := &TestBinary{pkg: path, dir: dir, path: filepath.Join(t.TempDir(), filepath.Base(path)+".test")}
	if out, err := exec.Command("go", "test", "-tags", "guest", "-c", "-o", b.path, path).CombinedOutput(); err != nil {
		t.Fatalf("compile tests of %s: %v\n%s", path, err, out)
	}
	return b
}
