package vm

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Group is one part of a suite: tests of a package, or a script.
type Group struct {
	Name    string
	Package string // import path of a test package; compiled with the build tag "guest"
	// Tests are patterns as for -test.run, without alternatives at their top. Each must match a test; none: all tests.
	Tests   []string
	Script  string        // in place of a package: for /bin/sh -e, as root
	Timeout time.Duration // of host time, 2 minutes by default
}

// Suite is what one boot of a kernel runs, one group after the other. A group that fails does not stop the next.
type Suite struct {
	Groups   []Group
	Modules  []string          // loaded first
	Packages []string          // Debian packages whose files the guest has too, dependencies included
	Env      map[string]string // for every group
}

// Program is a suite that is ready to run under any kernel: its test binaries are built.
type Program struct {
	Suite
	binaries map[string]*TestBinary
	tree     string // of the packages; empty for none
}

// Build compiles the tests of a suite, each package once, and fetches its packages.
func (s Suite) Build(t testing.TB) *Program {
	t.Helper()
	testkit.Need(t, testkit.QEMU)
	p := &Program{Suite: s, binaries: map[string]*TestBinary{}}
	for _, g := range s.Groups {
		if g.Package != "" && p.binaries[g.Package] == nil {
			p.binaries[g.Package] = BuildTest(t, g.Package)
		}
	}
	if len(s.Packages) > 0 {
		tree, err := FetchPackages(t.Context(), s.Packages...)
		if err != nil {
			t.Fatal(err)
		}
		p.tree = tree
	}
	return p
}

// Ran is what came out of a program under one kernel.
type Ran struct {
	Tests    map[string][]string // by package: the paths of the tests that ran
	Features []testkit.Feature   // what the tests that passed have proven
}

// On boots the kernel and runs the program, with NFT_OFFLOAD_STRICT=1 and NFT_OFFLOAD_IN_VM=1. Each group is a subtest of
// t, and each of the guest's tests one of the group. It is a failure when a pattern matches no test, when a test is
// skipped, and when the kernel complains. The guest's output goes to a file that failures name.
func (p *Program) On(t *testing.T, k Kernel) Ran {
	t.Helper()
	job := Job{Modules: p.Modules, Env: map[string]string{testkit.StrictEnv: "1"}}
	maps.Copy(job.Env, p.Env)
	if p.tree != "" {
		job.Trees = []string{p.tree}
	}
	for _, g := range p.Groups {
		job.Commands = append(job.Commands, p.command(g))
	}
	log := guestLog(t, k)
	job.Log = log
	res, err := Run(t.Context(), k, job)
	if err != nil {
		t.Errorf("%v\nall output: %s", err, log.Name())
	}
	if res == nil {
		return Ran{}
	}
	t.Logf("kernel %s: up and off again in %.1fs", res.Release, res.Elapsed.Seconds())
	if res.Prepared != "" {
		t.Errorf("the guest's preparation said:\n%s", res.Prepared)
	}
	if c := res.Complaints(); len(c) > 0 {
		t.Errorf("kernel %s complained:\n%s\nits last messages:\n%s\nall output: %s", res.Release, strings.Join(c, "\n"), tail(res.Console, 60), log.Name())
	}
	ran := Ran{Tests: map[string][]string{}}
	for i, g := range p.Groups {
		t.Run(g.Name, func(t *testing.T) {
			if i >= len(res.Commands) {
				t.Fatal("never began")
			}
			got := res.Commands[i]
			t.Logf("took %.1fs", got.Took.Seconds())
			g.judge(t, got, &ran)
			if t.Failed() {
				t.Logf("all output: %s", log.Name())
			}
		})
	}
	return ran
}

// command is how a guest runs the group.
func (p *Program) command(g Group) Command {
	if g.Package == "" {
		return Command{Name: g.Name, Script: g.Script, Timeout: g.Timeout}
	}
	b := p.binaries[g.Package]
	c := Command{Name: g.Name, Dir: b.dir, Timeout: g.Timeout}
	c.Script = fmt.Sprintf("exec %s -test.v=test2json -test.run %s -test.timeout %v\n", quote(b.path), quote(strings.Join(g.Tests, "|")), c.timeout())
	return c
}

// judge reports how the group ended.
func (g Group) judge(t *testing.T, got CommandResult, ran *Ran) {
	t.Helper()
	if g.Package == "" {
		if got.Status != 0 {
			t.Errorf("exit status %d:\n%s", got.Status, got.Output)
		}
		return
	}
	all, err := outcomes(got.Output)
	if err != nil {
		t.Fatalf("%v:\n%s", err, got.Output)
	}
	paths := all.ran()
	for _, want := range g.Tests {
		if !slices.ContainsFunc(paths, func(path string) bool { return matches(want, path) }) {
			t.Errorf("no test ran that matches %q", want)
		}
	}
	if len(paths) == 0 {
		t.Error("no test ran")
	}
	all.report(t)
	if got.Status != 0 {
		t.Errorf("exit status %d:\n%s", got.Status, all.output.String())
	}
	ran.Tests[g.Package] = append(ran.Tests[g.Package], paths...)
	ran.Features = append(ran.Features, all.proven()...)
}

func matchElement(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(name)
}

// guestLog opens the file that keeps all output of the kernel's last suite.
func guestLog(t testing.TB, k Kernel) *os.File {
	t.Helper()
	dir, err := cacheDir("logs")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, k.Name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
