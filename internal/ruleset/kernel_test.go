package ruleset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// scratch is a network namespace with the devices that the rulesets of testdata name.
func scratch(t *testing.T, label string) *testkit.NS {
	t.Helper()
	ns := testkit.NewNS(t, label)
	ns.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
	return ns
}

// corpus are the rulesets of testdata/nft: every construct of nft(8) that nft 1.0.6 and the kernel of CI take.
func corpus(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/nft/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rulesets: %v", err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".nft")] = string(text)
	}
	return all
}

// read returns the ruleset of a namespace as the program reads it: with what the JSON of nft leaves out.
func read(t *testing.T, ns *testkit.NS) *ruleset.Ruleset {
	t.Helper()
	var r *ruleset.Ruleset
	err := ns.Do(func() error {
		var err error
		r, err = nft.Read(t.Context(), "", nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// withoutLines drops the lines that end in something.
func withoutLines(text, end string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(strings.TrimSpace(line), end) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// list returns the ruleset of a namespace as nft lists it in JSON.
func list(t *testing.T, ns *testkit.NS) []byte {
	t.Helper()
	return []byte(ns.Run("nft", "-j", "list", "ruleset"))
}

// normal is a listing one object a line, without handles and metainfo, which differ between namespaces.
func normal(t *testing.T, doc []byte) string {
	t.Helper()
	var top struct{ Nftables []map[string]map[string]any }
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&top); err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	var out strings.Builder
	for _, o := range top.Nftables {
		for kind, fields := range o {
			delete(fields, "handle")
			settle(fields)
			line, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			if kind != "metainfo" {
				fmt.Fprintf(&out, "%s %s\n", kind, line)
			}
		}
	}
	return out.String()
}

// settle puts what is in no order in one: the elements of sets, which the kernel hashes with a seed. It takes out the
// time that elements have left.
func settle(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "expires")
		for k, m := range v {
			settle(m)
			if l, ok := m.([]any); ok && (k == "set" || k == "elem") {
				slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	case []any:
		for _, e := range v {
			settle(e)
		}
	}
}

// opaques are the parts of a ruleset that were not understood.
func opaques(r *ruleset.Ruleset) []string {
	var out []string
	for _, t := range r.Tables {
		for _, c := range t.Chains {
			for _, u := range c.Rules {
				for _, s := range u.Stmts {
					if o, ok := s.(ruleset.Opaque); ok {
						out = append(out, string(o.Raw))
					}
				}
				if text := u.String(); strings.Contains(text, "<opaque") {
					out = append(out, text)
				}
			}
		}
		for _, s := range t.Sets {
			if text := s.String(); strings.Contains(text, "<opaque") {
				out = append(out, text)
			}
		}
	}
	return out
}

// TestTextLoadsAsTheSame loads a ruleset, decodes the listing, prints it in nft's syntax, loads that, and lists again.
func TestTextLoadsAsTheSame(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	for name, text := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			ns := scratch(t, "a")
			ns.NFTables(text)
			doc, r := list(t, ns), read(t, ns)
			if o := opaques(r); o != nil {
				t.Errorf("not understood: %q", o)
			}
			other := scratch(t, "b")
			if out, err := other.Pipe(r.String(), "nft", "-f", "-"); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, r)
			}
			if diff := cmp.Diff(normal(t, doc), normal(t, list(t, other))); diff != "" {
				t.Errorf("%s\n%s", diff, r)
			}
			if diff := cmp.Diff(normal(t, ruleset.Encode(r, ruleset.EncodeOptions{})), normal(t, ruleset.Encode(read(t, other), ruleset.EncodeOptions{}))); diff != "" {
				t.Errorf("with what the JSON leaves out: %s", diff)
			}
		})
	}
}

// TestJSONLoadsAsTheSame is the same with JSON in place of text. Lines that end in "# no json" are left out: nft 1.0.6
// does not read its own JSON for them (see Encode).
func TestJSONLoadsAsTheSame(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	for name, text := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			ns := scratch(t, "a")
			ns.NFTables(withoutLines(text, "# no json"))
			doc, r := list(t, ns), read(t, ns)
			if diff := cmp.Diff(r, decode(t, string(ruleset.Encode(r, ruleset.EncodeOptions{})))); diff != "" {
				t.Errorf("encoded: %s", diff)
			}
			other := scratch(t, "b")
			load := ruleset.Encode(r, ruleset.EncodeOptions{Load: true})
			if out, err := other.Pipe(string(load), "nft", "-j", "-f", "/proc/self/fd/0"); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, load)
			}
			if diff := cmp.Diff(normal(t, doc), normal(t, list(t, other))); diff != "" {
				t.Errorf("%s", diff)
			}
		})
	}
}
