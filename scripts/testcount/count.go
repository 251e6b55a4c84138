package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json`, as `go doc test2json` describes it; build events carry ImportPath.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// counter counts tests without subtests of their own ("leaves"), and parents only where they fail by themselves.
type counter struct {
	out     io.Writer
	pkgs    map[string]*pkg
	passed  int
	failed  int
	skipped int
}

// pkg is a package whose tests are running.
type pkg struct {
	output strings.Builder  // what belongs to no test: a panic in TestMain, the exit status
	tests  map[string]*test // running
	count  int              // tests that ended
	failed int
}

type test struct {
	output   strings.Builder
	children bool
	failed   bool // a subtest failed, so this one's failure is counted already
}

func newCounter(out io.Writer) *counter {
	return &counter{out: out, pkgs: map[string]*pkg{}}
}

// line is the last line of a run.
func (c *counter) line() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (c *counter) add(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(c.out, e.Output)
		return
	case "build-fail":
		return // the packages that need it fail too
	}
	p := c.pkgs[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		c.pkgs[e.Package] = p
	}
	if e.Test == "" {
		c.packageEvent(p, e)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
	}
	switch e.Action {
	case "run":
		if parent := p.tests[parentOf(e.Test)]; parent != nil {
			parent.children = true
		}
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		c.end(p, e, t)
	}
}

// end counts a test that ended and shows what a failed or skipped one said.
func (c *counter) end(p *pkg, e event, t *test) {
	delete(p.tests, e.Test)
	switch {
	case e.Action == "fail":
		fmt.Fprintf(c.out, "FAIL %s %s (%.1fs)\n%s", e.Package, e.Test, e.Elapsed, t.output.String())
		if !t.failed {
			c.failed++
			p.failed++
			p.count++
		}
		for name := parentOf(e.Test); name != ""; name = parentOf(name) {
			if parent := p.tests[name]; parent != nil {
				parent.failed = true
			}
		}
	case e.Action == "skip":
		fmt.Fprintf(c.out, "skip %s %s\n%s", e.Package, e.Test, t.output.String())
		c.skipped++
		p.count++
	case !t.children:
		c.passed++
		p.count++
	}
}

// packageEvent shows a package's end. A package that fails although no test of it did counts as one failed test.
func (c *counter) packageEvent(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
		return
	case "pass":
		fmt.Fprintf(c.out, "ok   %s %.1fs, %d tests\n", e.Package, e.Elapsed, p.count)
	case "fail":
		// A panic or the time limit ends the binary: tests that were running get no event of their own.
		for _, name := range slices.Sorted(maps.Keys(p.tests)) {
			fmt.Fprintf(c.out, "FAIL %s %s: did not end\n%s", e.Package, name, p.tests[name].output.String())
		}
		if p.failed == 0 {
			c.failed++
		}
		fmt.Fprintf(c.out, "%sFAIL %s %.1fs\n", p.output.String(), e.Package, e.Elapsed)
	case "skip": // no test files
	default:
		return
	}
	delete(c.pkgs, e.Package)
}

// parentOf returns the name of the test whose subtest this one is, or "".
func parentOf(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '/'))]
}
