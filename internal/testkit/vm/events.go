package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// outcome is a test of a guest with its subtests, as it ended there.
type outcome struct {
	path     string // "TestA/x"
	verdict  string // "pass", "fail" or "skip"; empty: it did not end
	seconds  float64
	output   strings.Builder
	features []testkit.Feature
	children []*outcome
}

// event is one line of test2json; `go doc test2json` describes it.
type event struct {
	Action  string
	Test    string
	Output  string
	Elapsed float64
	Key     string
	Value   string
}

// outcomes reads what a test binary printed with -test.v=test2json. The first outcome has no path: it is the binary's own.
func outcomes(output string) (*outcome, error) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = strings.NewReader(output)
	var errb bytes.Buffer
	cmd.Stderr = &errb
	events, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read test output: %w: %s", err, errb.String())
	}
	return tree(bytes.NewReader(events))
}

// tree builds the tests of the events.
func tree(events io.Reader) (*outcome, error) {
	root := &outcome{}
	known := map[string]*outcome{"": root}
	d := json.NewDecoder(events)
	for {
		var e event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read test event: %w", err)
		}
		o := known[e.Test]
		if o == nil {
			o = &outcome{path: e.Test}
			known[e.Test] = o
			parent := known[parentOf(known, e.Test)]
			parent.children = append(parent.children, o)
		}
		switch e.Action {
		case "output":
			o.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			o.verdict, o.seconds = e.Action, e.Elapsed
		case "attr":
			if e.Key != testkit.FeatureAttr {
				continue
			}
			var f testkit.Feature
			if err := json.Unmarshal([]byte(e.Value), &f); err != nil {
				return nil, fmt.Errorf("read feature of %s: %w", e.Test, err)
			}
			o.features = append(o.features, f)
		}
	}
}

// parentOf returns the nearest test above the one named: a subtest's own name may have slashes.
func parentOf(known map[string]*outcome, path string) string {
	for {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return ""
		}
		path = path[:i]
		if known[path] != nil {
			return path
		}
	}
}

// ran returns the paths of all tests that ran, parents before their subtests.
func (o *outcome) ran() []string {
	var paths []string
	for _, c := range o.children {
		paths = append(append(paths, c.path), c.ran()...)
	}
	return paths
}

// proven returns what the tests that passed have recorded.
func (o *outcome) proven() []testkit.Feature {
	var fs []testkit.Feature
	if o.verdict == "pass" {
		fs = append(fs, o.features...)
	}
	for _, c := range o.children {
		fs = append(fs, c.proven()...)
	}
	return fs
}

// report makes a subtest of t of each test below o. What a test said is shown when it failed.
func (o *outcome) report(t *testing.T) {
	t.Helper()
	for _, c := range o.children {
		t.Run(strings.TrimPrefix(strings.TrimPrefix(c.path, o.path), "/"), func(t *testing.T) {
			c.report(t)
			switch c.verdict {
			case "pass":
			case "skip": // a guest has what a test can need
				t.Errorf("skipped in the guest:\n%s", c.output.String())
			case "":
				t.Errorf("did not end in the guest:\n%s", c.output.String())
			default:
				t.Errorf("failed in the guest after %.1fs:\n%s", c.seconds, c.output.String())
			}
		})
	}
}

// matches reports whether a test runs with the pattern given to -test.run; it has no alternatives at its top.
func matches(pattern, path string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(have) < len(want) {
		return false
	}
	for i, w := range want {
		if !matchElement(w, have[i]) {
			return false
		}
	}
	return true
}
