package vm

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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
	list, err := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}", pkg).Output()
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

// GoTest is one run of a test binary inside a guest.
type GoTest struct {
	Binary  *TestBinary
	Run     string        // as for -test.run; must match at least one test
	Timeout time.Duration // of host time, 2 minutes by default
	Env     map[string]string
	Modules []string // loaded first
}

// RunGoTest compiles the tests of pkg and runs those that match under the kernel.
// For several kernels use [BuildTest] once and [GoTest.On] for each.
func RunGoTest(t *testing.T, k Kernel, pkg, run string) {
	t.Helper()
	GoTest{Binary: BuildTest(t, pkg), Run: run}.On(t, k)
}

// On runs the tests under the kernel, with NFT_OFFLOAD_STRICT=1 and NFT_OFFLOAD_IN_VM=1, and reports each of the guest's
// top-level tests as a subtest of t. Output is logged as it arrives. It is a failure when no test matches, when a test is
// skipped (a guest has what a test can need), and when the kernel complains.
func (g GoTest) On(t *testing.T, k Kernel) {
	t.Helper()
	testkit.Need(t, testkit.QEMU)
	env := map[string]string{testkit.StrictEnv: "1"}
	maps.Copy(env, g.Env)
	cmd := Command{Name: g.Binary.pkg, Dir: g.Binary.dir, Timeout: g.Timeout}
	cmd.Script = fmt.Sprintf("exec %s -test.v -test.run %s -test.timeout %v\n", quote(g.Binary.path), quote(g.Run), cmd.timeout())
	res := RunCommands(t, k, Job{Commands: []Command{cmd}, Env: env, Modules: g.Modules})
	got := res.Commands[0]
	verdicts := topLevel(got.Output)
	if len(verdicts) == 0 {
		t.Errorf("under %s: no test of %s ran that matches %q", res.Release, g.Binary.pkg, g.Run)
	}
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			if v.verdict != "PASS" {
				t.Errorf("%s in the guest (kernel %s); its output is in the log of %s", v.verdict, res.Release, g.Binary.pkg)
			}
		})
	}
	if got.Status != 0 {
		t.Errorf("under %s: tests of %s: exit status %d", res.Release, g.Binary.pkg, got.Status)
	}
}

// RunCommands runs a job for a test: output is logged as it arrives, and the test fails at once when the machine does,
// at the end when the kernel complains. Exit statuses are the caller's to judge.
func RunCommands(t testing.TB, k Kernel, job Job) *Result {
	t.Helper()
	testkit.Need(t, testkit.QEMU)
	log := &logWriter{t: t, prefix: k.Name + "| "}
	job.Log = log
	res, err := Run(t.Context(), k, job)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s: up and off again in %.1fs", res.Release, res.Elapsed.Seconds())
	if c := res.Complaints(); len(c) > 0 {
		t.Errorf("kernel %s complained:\n%s\nits last messages:\n%s", res.Release, strings.Join(c, "\n"), tail(res.Console, 60))
	}
	return res
}

// logWriter logs whole lines to a test.
type logWriter struct {
	t      testing.TB
	prefix string
}

func (w *logWriter) Write(line []byte) (int, error) {
	w.t.Log(w.prefix + strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

type verdict struct{ name, verdict string }

// topLevel finds the verdicts of top-level tests in what a test binary prints with -test.v.
func topLevel(output string) []verdict {
	var vs []verdict
	for _, m := range regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`).FindAllStringSubmatch(output, -1) {
		vs = append(vs, verdict{name: m[2], verdict: m[1]})
	}
	return vs
}
