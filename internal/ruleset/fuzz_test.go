package ruleset_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// FuzzDecode: no document makes Decode panic, and encoding loses nothing of what was decoded.
func FuzzDecode(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := ruleset.Decode(doc)
		if err != nil {
			return
		}
		text := ruleset.Encode(r, ruleset.EncodeOptions{})
		again, err := ruleset.Decode(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("encoded and decoded again:\n%s\n%s", diff, text)
		}
	})
}

// seeds are documents of what nft prints: one of each construct.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	out := [][]byte{
		[]byte(document(tableT, chainC, rule(`{"accept": null}, {"new": [1, -2, 3.5e6, "\u00e4"]}`))),
		[]byte(document(wrap("add", tableT, chainC, rule(`{"xt": null}, {"log": {}}`))...)),
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, doc)
	}
	return out
}
