// Package corpus runs what reads rulesets over real ones: what firewall tools, container hosts and routers load, as nft
// lists it. internal/ruleset/testdata/real/README.md says where each comes from.
package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	dir = "../../internal/ruleset/testdata/real"
	// updateEnv names the environment variable that makes the tests write what they compare with.
	updateEnv = "UPDATE_CORPUS"
	// maxSize keeps a file readable in a review.
	maxSize = 200_000
	// minFiles is how many rulesets there are at least.
	minFiles = 14
)

// file is one ruleset, listed twice.
type file struct {
	name string
	json []byte // nft -j list ruleset
	text []byte // nft list ruleset
}

// files reads the corpus, sorted by name.
func files(t testing.TB) []file {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	out := make([]file, 0, len(paths))
	for _, p := range paths {
		f := file{name: strings.TrimSuffix(filepath.Base(p), ".json"), json: read(t, p)}
		f.text = read(t, filepath.Join(dir, f.name+".nft"))
		out = append(out, f)
	}
	return out
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// each runs f once for every ruleset.
func each(t *testing.T, f func(*testing.T, file)) {
	t.Helper()
	for _, r := range files(t) {
		t.Run(r.name, func(t *testing.T) { f(t, r) })
	}
}

// object is one element of the list that nft prints: its kind and its members.
type object struct {
	kind   string
	fields map[string]any
}

// objects parses a listing without package ruleset, so that it can be held against it.
func objects(t testing.TB, doc []byte) []object {
	t.Helper()
	var top struct {
		Nftables []map[string]map[string]any `json:"nftables"`
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&top); err != nil {
		t.Fatal(err)
	}
	out := make([]object, 0, len(top.Nftables))
	for _, o := range top.Nftables {
		for kind, fields := range o {
			out = append(out, object{kind, fields})
		}
	}
	return out
}

// stable are the objects of a listing without what differs between two loads of one ruleset: the header, handles, what
// counters have counted, and that a table has an owner, the program that loaded it. Rules stand as they do, all else
// is sorted, for versions of nft differ in what they list first.
func stable(t testing.TB, doc []byte) []string {
	t.Helper()
	var rules, others []string
	for _, o := range objects(t, doc) {
		if o.kind == "metainfo" {
			continue
		}
		delete(o.fields, "handle")
		if o.kind == "table" {
			delete(o.fields, "flags")
		}
		b, err := json.Marshal(map[string]any{o.kind: scrub(o.fields)})
		if err != nil {
			t.Fatal(err)
		}
		if o.kind == "rule" {
			rules = append(rules, string(b))
			continue
		}
		others = append(others, string(b))
	}
	slices.Sort(others)
	return append(rules, others...)
}

// scrub sets what counters and quotas have counted and what elements have left of their time to zero.
func scrub(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = scrub(v[i])
		}
	case map[string]any:
		for k := range v {
			switch k {
			case "packets", "bytes", "used", "expires":
				if _, counted := v[k].(json.Number); counted {
					v[k] = 0
					continue
				}
			}
			v[k] = scrub(v[k])
		}
	}
	return v
}

// diff says where two lists differ first, or nothing.
func diff(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("object %d:\n got %s\nwant %s", i, g, w)
		}
	}
	return ""
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv(updateEnv) != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := string(read(t, path))
	if got != want {
		t.Errorf("%s differs (%s=1 writes it anew): %s", path, updateEnv, diff(strings.Split(got, "\n"), strings.Split(want, "\n")))
	}
}

// TestCorpusIsLargeEnoughAndNamesNoMachine holds the files to what README.md promises.
func TestCorpusIsLargeEnoughAndNamesNoMachine(t *testing.T) {
	all := files(t)
	if len(all) < minFiles {
		t.Errorf("%d rulesets, want at least %d", len(all), minFiles)
	}
	readme := string(read(t, filepath.Join(dir, "README.md")))
	for _, f := range all {
		if n := max(len(f.json), len(f.text)); n > maxSize {
			t.Errorf("%s: %d bytes, want at most %d", f.name, n, maxSize)
		}
		if !strings.Contains(readme, "`"+f.name+"`") {
			t.Errorf("README.md does not say how %s was made", f.name)
		}
		for _, s := range []string{"/tmp/", "/home/", "/root/"} {
			if bytes.Contains(f.json, []byte(s)) || bytes.Contains(f.text, []byte(s)) {
				t.Errorf("%s names the path %s of the machine that it was made on", f.name, s)
			}
		}
	}
}
