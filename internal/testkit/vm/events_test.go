package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// printed is what a test binary prints with -test.v=test2json: ^V marks its own lines.
const printed = "\x16=== RUN   TestA\n" +
	"\x16=== RUN   TestA/802.1Q_in/out\n" +
	"hello\n" +
	"\x16=== ATTR  TestA/802.1Q_in/out feature {\"section\":\"Paths\",\"name\":\"802.1Q in\",\"result\":\"fast (tc)\"}\n" +
	"\x16--- PASS: TestA/802.1Q_in/out (0.10s)\n" +
	"\x16=== RUN   TestA/bad\n" +
	"\x16=== ATTR  TestA/bad feature {\"section\":\"Paths\",\"name\":\"never\",\"result\":\"fast (tc)\"}\n" +
	"    a_test.go:1: no\n" +
	"\x16--- FAIL: TestA/bad (0.10s)\n" +
	"\x16--- FAIL: TestA (0.20s)\n" +
	"\x16=== RUN   TestHangs\n"

func TestOutcomesAreATreeOfTests(t *testing.T) {
	root, err := outcomes(printed)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"TestA", "TestA/802.1Q_in/out", "TestA/bad", "TestHangs"}
	if diff := cmp.Diff(want, root.ran()); diff != "" {
		t.Fatalf("tests (-want +got):\n%s", diff)
	}
	a, hangs := root.children[0], root.children[1]
	for o, verdict := range map[*outcome]string{a: "fail", a.children[0]: "pass", a.children[1]: "fail"} {
		if o.verdict != verdict {
			t.Errorf("%s: verdict %q, want %q", o.path, o.verdict, verdict)
		}
	}
	if hangs.verdict == "pass" {
		t.Error("a test that did not end has passed")
	}
	if out := a.children[1].output.String(); !strings.Contains(out, "a_test.go:1: no") || strings.Contains(out, "hello") {
		t.Errorf("output of the failed test: %q", out)
	}
	proven := []testkit.Feature{{Section: "Paths", Name: "802.1Q in", Result: "fast (tc)"}}
	if diff := cmp.Diff(proven, root.proven()); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
}

func TestPatternMatchesElementsOfATestsName(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"TestA$", "TestA", true},
		{"TestA$", "TestAB", false},
		{"TestA/(tc|xdp)/dnat.masq", "TestA/xdp/dnat+masquerade", true},
		{"TestA/(tc|xdp)/dnat", "TestA/xdp", false},
		{"TestA", "TestA/sub", true},
	}
	for _, tt := range tests {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("pattern %q, test %q: %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}
