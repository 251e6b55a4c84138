package ruleset_test

import (
	"maps"
	"slices"
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
		_ = r.String()
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
	for _, name := range slices.Sorted(maps.Keys(listings(f))) {
		out = append(out, pieces(decode(f, string(listings(f)[name])))...)
	}
	return out
}

// pieces are a ruleset's rules and sets, a small document each: the fuzzer tries variants of small ones faster.
func pieces(r *ruleset.Ruleset) [][]byte {
	const small = 2000 // bytes
	var out [][]byte
	add := func(t ruleset.Table) {
		doc := ruleset.Encode(&ruleset.Ruleset{Tables: []*ruleset.Table{&t}}, ruleset.EncodeOptions{Load: true})
		if _, err := ruleset.Decode(doc); err == nil && len(doc) < small {
			out = append(out, doc)
		}
	}
	for _, t := range r.Tables {
		head := ruleset.Table{Family: t.Family, Name: t.Name, Flags: t.Flags}
		for _, s := range t.Sets {
			one := head
			one.Sets = []*ruleset.Set{s}
			add(one)
		}
		for _, o := range t.Objects {
			one := head
			one.Objects = []*ruleset.Object{o}
			add(one)
		}
		for _, c := range t.Chains {
			for _, u := range c.Rules {
				one, chain := head, *c
				chain.Rules = []*ruleset.Rule{u}
				one.Chains = []*ruleset.Chain{&chain}
				add(one)
			}
		}
	}
	return out
}
