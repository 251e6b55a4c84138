package plan

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// FuzzMake plans whatever decodes, twice, and renders it in every form.
func FuzzMake(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range a.Files {
			if s.Name == "ruleset.json" {
				f.Add(s.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		rs, err := ruleset.Decode(doc)
		if err != nil {
			return
		}
		for _, profile := range []string{"mlx5", "ixgbe", "bnxt"} {
			p, ok := caps.Lookup(profile)
			if !ok {
				t.Fatal("no profile")
			}
			m := caps.Assume(p, DevicesOf(rs)...)
			first, second := everything(t, Make(rs, m, Options{})), everything(t, Make(rs, m, Options{}))
			if !bytes.Equal(first, second) {
				t.Errorf("two plans of one ruleset:\n%s\n%s", first, second)
			}
		}
	})
}

// everything is a plan in all its forms.
func everything(t *testing.T, p *Plan) []byte {
	t.Helper()
	doc, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{p.Text(), p.TC(), p.Dot()} {
		doc = append(doc, s...)
	}
	return doc
}
