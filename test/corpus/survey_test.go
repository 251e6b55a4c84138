package corpus

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	surveyBegin = "<!-- survey: begin -->\n"
	surveyEnd   = "<!-- survey: end -->\n"
)

// kinds counts the kinds of objects, statements and expressions of a ruleset.
type kinds struct {
	objects, stmts, exprs map[string]int
}

// survey reads the kinds off the JSON itself.
func survey(t testing.TB, doc []byte) kinds {
	t.Helper()
	k := kinds{map[string]int{}, map[string]int{}, map[string]int{}}
	for _, o := range objects(t, doc) {
		if o.kind == "metainfo" {
			continue
		}
		k.objects[o.kind]++
		switch o.kind {
		case "rule":
			list, _ := o.fields["expr"].([]any)
			for _, s := range list {
				k.stmt(s)
			}
		case "set", "map":
			k.expr(o.fields["elem"])
		}
	}
	return k
}

// stmt counts a statement and the expressions in it. Statements that can be written with and without their own state,
// like counter, count as one kind.
func (k *kinds) stmt(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	for name, arg := range m {
		k.stmts[name]++
		args, ok := arg.(map[string]any)
		if !ok {
			if arg != nil {
				k.expr(arg)
			}
			continue
		}
		if name == "xt" || name == "log" || name == "jump" || name == "goto" || name == "synproxy" {
			continue
		}
		if _, lookup := args["map"]; lookup && len(args) == 1 {
			k.expr(args)
			continue
		}
		for field, a := range args {
			switch field {
			case "stmt": // of a set's elements: one, or a list
				more, isList := a.([]any)
				if !isList {
					more = []any{a}
				}
				for _, s := range more {
					k.stmt(s)
				}
			default:
				k.expr(a)
			}
		}
	}
}

// expr counts the expressions of a value. Selectors count by their protocol or key.
func (k *kinds) expr(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			k.expr(e)
		}
	case map[string]any:
		for name, arg := range v {
			k.named(name, arg)
		}
	case string:
		if strings.HasPrefix(v, "@") {
			k.exprs["@set"]++
		}
	}
}

func (k *kinds) named(name string, arg any) {
	args, _ := arg.(map[string]any)
	switch name {
	case "payload":
		k.exprs[fmt.Sprint("payload ", args["protocol"], args["base"])]++
		return
	case "meta", "ct", "rt", "exthdr", "tcp option", "ip option", "socket":
		k.exprs[fmt.Sprint(name, " ", args["key"], args["name"])]++
		return
	case "jump", "goto", "accept", "drop", "return", "continue":
		k.exprs["verdict"]++
		return
	case "fib":
		k.exprs[fmt.Sprint("fib ", args["result"])]++
		return
	}
	k.exprs[name]++
	if args == nil {
		k.expr(arg)
		return
	}
	for field, a := range args {
		switch field {
		case "comment", "timeout", "expires", "len", "mod", "offset", "seed", "counter", "limit":
		default:
			k.expr(a)
		}
	}
}

func (k *kinds) String() string {
	return list(k.objects) + " | " + list(k.stmts) + " | " + list(k.exprs)
}

// list names the kinds with how often they occur, in order of their names. Where nothing is, it says so.
func list(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", strings.ReplaceAll(strings.ReplaceAll(k, "<nil>", ""), "|", `\|`), m[k]))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// TestSurveyInReadmeIsWhatTheFilesHold compares the table of README.md with the files; UPDATE_CORPUS=1 writes it.
func TestSurveyInReadmeIsWhatTheFilesHold(t *testing.T) {
	var out strings.Builder
	out.WriteString("| file | objects | statements | expressions |\n|---|---|---|---|\n")
	for _, f := range files(t) {
		k := survey(t, f.json)
		fmt.Fprintf(&out, "| %s | %s |\n", f.name, k.String())
	}
	path := filepath.Join(dir, "README.md")
	readme := string(read(t, path))
	before, rest, ok := strings.Cut(readme, surveyBegin)
	_, after, ok2 := strings.Cut(rest, surveyEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the survey: %q ... %q", path, surveyBegin, surveyEnd)
	}
	golden(t, path, before+surveyBegin+out.String()+surveyEnd+after)
}
