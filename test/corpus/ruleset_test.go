package corpus

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func decode(t testing.TB, doc []byte) *ruleset.Ruleset {
	t.Helper()
	r, err := ruleset.Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestNothingInTheCorpusIsOpaque: matches and targets of iptables are actions with the name that nft gives them.
func TestNothingInTheCorpusIsOpaque(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		r := decode(t, f.json)
		for _, raw := range r.Opaque {
			t.Errorf("opaque object %s", raw)
		}
		found := map[string]bool{}
		walk(reflect.ValueOf(r), func(v reflect.Value) {
			switch x := v.Interface().(type) {
			case ruleset.Opaque:
				t.Errorf("opaque %s", x.Raw)
			case ruleset.Action:
				found[x.Kind] = true
			}
		})
		if foreign(f) && !found["xt"] {
			t.Error("no statement of iptables, want some")
		}
	})
}

// walk visits every value that another one holds.
func walk(v reflect.Value, visit func(reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), visit)
		}
	case reflect.Struct:
		visit(v)
		for i := range v.NumField() {
			walk(v.Field(i), visit)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), visit)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			walk(v.MapIndex(k), visit)
		}
	}
}

// TestEncodingGivesTheListingAgain compares objects as JSON values. Versions of nft differ in what they list first, so
// order counts among rules only.
func TestEncodingGivesTheListingAgain(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		got := ruleset.Encode(decode(t, f.json), ruleset.EncodeOptions{})
		if d := diff(canonical(t, got), canonical(t, f.json)); d != "" {
			t.Error(d)
		}
	})
}

// canonical are the objects of a listing, each as JSON with sorted members: rules as they stand, then all else sorted.
func canonical(t testing.TB, doc []byte) []string {
	t.Helper()
	var rules, others []string
	for _, o := range objects(t, doc) {
		b, err := json.Marshal(map[string]any{o.kind: o.fields})
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

// TestEncodedRulesetLoadsAndListsTheSame gives nft the JSON of package ruleset and compares what it then lists.
func TestEncodedRulesetLoadsAndListsTheSame(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		if foreign(f) || strings.Contains(string(f.text), "flags owner") {
			return // nft loads nothing of iptables; a table with an owner is gone when the nft that made it ends
		}
		r := decode(t, f.json)
		standIn(r)
		text, _ := cut(string(f.text))
		ns := namespace(t, text)
		if version(t, f.json) != version(t, []byte(ns.Run("nft", "-j", "list", "ruleset"))) {
			return
		}
		doc := ruleset.Encode(r, ruleset.EncodeOptions{Load: true})
		if out, err := ns.Pipe(string(doc), "nft", "-j", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want := stable(t, ruleset.Encode(r, ruleset.EncodeOptions{}))
		got := stable(t, []byte(ns.Run("nft", "-j", "list", "ruleset")))
		slices.Sort(want)
		slices.Sort(got)
		if d := diff(got, want); d != "" {
			t.Error(d)
		}
	})
}

// standIn does to values what cut does to text.
func standIn(r *ruleset.Ruleset) {
	for _, t := range r.Tables {
		t.Flowtables = nil
		for _, c := range t.Chains {
			for _, u := range c.Rules {
				for i, s := range u.Stmts {
					if a, ok := s.(ruleset.FlowAdd); ok {
						prefix, _ := json.Marshal("flow add @" + a.Flowtable)
						u.Stmts[i] = ruleset.Action{Kind: "log", Fields: ruleset.Extra{"prefix": prefix}}
					}
				}
			}
		}
	}
}
