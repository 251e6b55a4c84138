package testkit

import (
	"encoding/json"
	"testing"
)

// Feature is one line of docs/matrix.md: what a test in a guest has proven. Its texts are what users read, so they stay the
// same from run to run: no figures, no names of test topologies.
type Feature struct {
	Section string `json:"section"` // the table it belongs to
	Name    string `json:"name"`    // "802.1Q in"
	Result  string `json:"result"`  // "fast (tc)", "kernel flowtable", "slow: REASON"
}

// FeatureAttr is the name of the test attribute that carries a feature as JSON.
const FeatureAttr = "feature"

// Proved records what the test has proven, if it passes. A test may record several.
func Proved(t testing.TB, f Feature) {
	t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatalf("record feature %q: %v", f.Name, err)
	}
	t.Attr(FeatureAttr, string(b))
}
