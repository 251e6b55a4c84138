package main

import (
	"strings"
	"testing"
)

func TestCounterCountsLeavesAndLonelyFailures(t *testing.T) {
	tests := []struct {
		name  string
		in    string
		line  string
		shown []string
		not   []string
	}{
		{
			name: "a parent is not counted, its output is not shown when all is well",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestA/x","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"skip","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.25}`,
			line:  "1 passed, 0 failed, 1 skipped",
			shown: []string{"ok   p 1.2s, 2 tests", "skip p TestA/y"},
			not:   []string{"chatter"},
		},
		{
			name: "a failed subtest is counted once",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestA/x","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			line:  "0 passed, 1 failed, 0 skipped",
			shown: []string{"FAIL p TestA/x", "why"},
		},
		{
			name: "a parent that fails by itself is counted",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			line: "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "a test that a panic ended",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}
{"Action":"output","Package":"p","Output":"exit status 2\n"}
{"Action":"fail","Package":"p"}`,
			line:  "0 passed, 1 failed, 0 skipped",
			shown: []string{"TestA: did not end", "panic: oh", "exit status 2"},
		},
		{
			name: "a package that does not compile, and a line that is no event",
			in: `go: warning
{"Action":"build-output","ImportPath":"p","Output":"p.go:1: no\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p"}`,
			line:  "0 passed, 1 failed, 0 skipped",
			shown: []string{"go: warning", "p.go:1: no", "FAIL p"},
		},
		{
			name: "a package without tests",
			in:   `{"Action":"skip","Package":"p"}`,
			line: "0 passed, 0 failed, 0 skipped",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			c := newCounter(&out)
			if err := c.readAll(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if got := c.line(); got != tt.line {
				t.Errorf("line %q, want %q", got, tt.line)
			}
			for _, s := range tt.shown {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is not shown:\n%s", s, out.String())
				}
			}
			for _, s := range tt.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("%q is shown:\n%s", s, out.String())
				}
			}
		})
	}
}
