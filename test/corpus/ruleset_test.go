package corpus

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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

// TestNothingInTheCorpusIsOpaque: matches and targets of iptables are values with the name that nft gives them.
func TestNothingInTheCorpusIsOpaque(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		r := decode(t, f.json)
		for _, raw := range r.Opaque {
			t.Errorf("opaque object %s", raw)
		}
		found := false
		walk(reflect.ValueOf(r), func(v reflect.Value) {
			switch x := v.Interface().(type) {
			case ruleset.Opaque:
				t.Errorf("opaque %s", x.Raw)
			case ruleset.XT:
				found = true
			}
		})
		if foreign(f) != found {
			t.Errorf("statements of iptables among the values: %v, in the listing: %v", found, foreign(f))
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
		for _, f := range v.Fields() {
			walk(f, visit)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), visit)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			walk(v.MapIndex(k), visit)
		}
	default:
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
// What can be written in two ways is written in one: a list of one flag is the flag, a burst of 0 none, a
// counter of a set without numbers one that counted nothing.
func canonical(t testing.TB, doc []byte) []string {
	t.Helper()
	var rules, others []string
	for _, o := range objects(t, doc) {
		b, err := json.Marshal(map[string]any{o.kind: one(o.fields)})
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

// one rewrites a value for canonical.
func one(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = one(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = one(v[k])
			list, isList := v[k].([]any)
			switch {
			case isList && len(list) == 1 && strings.HasSuffix(k, "flags"):
				v[k] = list[0]
			case k == "burst" && v[k] == json.Number("0"):
				delete(v, k)
			case k == "counter" && v[k] == nil:
				v[k] = map[string]any{"packets": json.Number("0"), "bytes": json.Number("0")}
			}
		}
	}
	return v
}

// TestEncodedRulesetLoadsAndListsTheSame gives nft the text and the JSON of package ruleset and compares what it then
// lists. Text loses nothing. Not all JSON that nft 1.0.6 prints can it read again: there, what counts is that it
// takes the encoded JSON as it takes its own.
func TestEncodedRulesetLoadsAndListsTheSame(t *testing.T) {
	same := 0
	each(t, func(t *testing.T, f file) {
		if foreign(f) || strings.Contains(string(f.text), "flags owner") {
			return // nft loads nothing of iptables; a table with an owner is gone when the nft that made it ends
		}
		text, _ := cut(string(f.text))
		ns := namespace(t, text)
		if version(t, f.json) != version(t, []byte(ns.Run("nft", "-j", "list", "ruleset"))) {
			return
		}
		r := decode(t, f.json)
		standIn(r)
		want := sorted(t, ruleset.Encode(r, ruleset.EncodeOptions{}))
		again := func(doc string, args ...string) ([]string, error) {
			ns.Run("nft", "flush", "ruleset")
			if _, err := ns.Pipe(doc, "nft", args...); err != nil {
				return nil, err
			}
			return sorted(t, []byte(ns.Run("nft", "-j", "list", "ruleset"))), nil
		}
		if !strings.Contains(text, " device ") && !strings.Contains(text, " devices = ") {
			got, err := again(r.String(), "-f", "-")
			if err != nil {
				t.Errorf("text: %v\n%s", err, r)
			} else if d := diff(got, want); d != "" {
				t.Errorf("text: %s", d)
			}
		}
		got, err := again(string(ruleset.Encode(r, ruleset.EncodeOptions{Load: true})), "-j", "-f", "-")
		if err == nil && diff(got, want) == "" {
			same++
			return
		}
		theirs, theirErr := again(string(ruleset.Encode(r, ruleset.EncodeOptions{})), "-j", "-f", "-")
		switch {
		case theirErr == nil && err != nil:
			t.Errorf("JSON: %v", err)
		case theirErr == nil:
			if d := diff(got, theirs); d != "" {
				t.Errorf("JSON: %s", d)
			}
		default:
			t.Logf("nft refuses its own JSON: %v", theirErr)
		}
	})
	t.Logf("%d rulesets list the same after JSON", same)
}

// sorted are the objects of a listing in an order that does not depend on who made it.
func sorted(t testing.TB, doc []byte) []string {
	t.Helper()
	var out []string
	for _, o := range objects(t, doc) {
		if o.kind == "metainfo" {
			continue
		}
		delete(o.fields, "handle")
		if list, ok := o.fields["flags"].([]any); ok { // nft adds it where a rule needs it
			o.fields["flags"] = slices.DeleteFunc(list, func(f any) bool { return f == "dynamic" })
		}
		b, err := json.Marshal(map[string]any{o.kind: elements(one(scrub(o.fields)))})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	slices.Sort(out)
	return out
}

// TestTextIsWhatNftWrites compares each rule's text with the line of nft's own listing. What iptables made is text of its
// own in both and does not count.
func TestTextIsWhatNftWrites(t *testing.T) {
	each(t, func(t *testing.T, f file) {
		if foreign(f) {
			return
		}
		got, want := ruleLines(decode(t, f.json).String()), ruleLines(string(f.text))
		if d := diff(got, want); d != "" {
			t.Error(d)
		}
	})
}

// ruleLines are the lines of chains, with one blank between words, and as spelled has them.
func ruleLines(text string) []string {
	var out []string
	in := false
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Join(strings.Fields(line), " ")
		switch {
		case strings.HasPrefix(words, "chain "):
			in = true
		case line == "\t}":
			in = false
		}
		if in && !strings.HasPrefix(words, "type ") && !strings.HasPrefix(words, "comment ") { // which JSON of 1.0.6 lacks
			out = append(out, spelled(words))
		}
	}
	return out
}

// spelled writes a line in one way where nft 1.0.6 has two and reads both: defaults are left out, raw bits compare with
// decimal numbers, and `tcp flags syn / fin,syn` is a comparison.
func spelled(line string) string {
	line = strings.NewReplacer(" burst 5 packets", "", " with icmp port-unreachable", "", " with icmpv6 port-unreachable", "",
		" with icmpx port-unreachable", "", `oif "0"`, "oif 0").Replace(line)
	if strings.Contains(line, "@th,") || strings.Contains(line, "@ih,") {
		line = regexp.MustCompile(`0x[0-9a-f]+`).ReplaceAllStringFunc(line, decimal)
	}
	flags := regexp.MustCompile(`tcp flags ([a-z,]+) / ([a-z,]+)`)
	return flags.ReplaceAllStringFunc(line, func(s string) string {
		m := flags.FindStringSubmatch(s)
		or := func(s string) string { return strings.ReplaceAll(s, ",", " | ") }
		return "tcp flags & (" + or(m[2]) + ") == " + or(m[1])
	})
}

// decimal writes a number that is hexadecimal.
func decimal(s string) string {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return s
	}
	return strconv.FormatUint(n, 10)
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

// elements sorts the elements of a set: hash sets list them in an order of their own after each load.
func elements(v any) any {
	fields, ok := v.(map[string]any)
	if !ok {
		return v
	}
	list, ok := fields["elem"].([]any)
	if !ok {
		return v
	}
	slices.SortFunc(list, func(a, b any) int {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return bytes.Compare(x, y)
	})
	return v
}
