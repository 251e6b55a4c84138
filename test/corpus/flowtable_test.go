package corpus

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A kernel without flowtables lists a ruleset with some in three steps. They leave the text (cut), each `flow add @f`
// becomes a log statement with these words as its prefix, which nft lists at the same place, and after listing the
// log statements become `flow add` and the flowtables come back where nft lists them.

// flowtable is a flowtable's block in a listing.
type flowtable struct {
	family, table, name string
	block               string // with its last newline
}

// cut takes flowtables and `flow add` out of a listing.
func cut(text string) (string, []flowtable) {
	var out strings.Builder
	var fts []flowtable
	var family, table string
	var in *flowtable
	blank := false
	for line := range strings.SplitAfterSeq(text, "\n") {
		words := strings.Fields(line)
		switch {
		case in != nil:
			in.block += line
			if line == "\t}\n" {
				fts = append(fts, *in)
				in, blank = nil, true
			}
			continue
		case blank && len(words) == 0:
			blank = false
			continue
		case len(words) >= 4 && words[0] == "table": // behind the brace, perhaps, a comment with the table's owner
			family, table = words[1], words[2]
		case len(words) == 3 && words[0] == "flowtable":
			in = &flowtable{family, table, words[1], line}
			continue
		}
		blank = false
		out.WriteString(line)
	}
	return flowAdd().ReplaceAllString(out.String(), `log prefix "flow add @$1"`), fts
}

func flowAdd() *regexp.Regexp { return regexp.MustCompile(`flow add @([\w-]+)`) }

// mendText is the opposite of cut: flowtables are listed behind sets and in front of chains.
func mendText(text string, fts []flowtable) string {
	text = regexp.MustCompile(`log prefix "(flow add @[\w-]+)"`).ReplaceAllString(text, "$1")
	for _, ft := range fts {
		head := fmt.Sprintf("table %s %s {", ft.family, ft.table)
		before, rest, ok := strings.Cut(text, head)
		if !ok {
			continue
		}
		comment, rest, _ := strings.Cut(rest, "\n")
		head += comment + "\n"
		at := strings.Index(rest, "\tchain ")
		if end := strings.Index(rest, "\n}\n"); at < 0 || end >= 0 && end < at {
			text = before + head + ft.block + rest
			continue
		}
		text = before + head + rest[:at] + ft.block + "\n" + rest[at:]
	}
	return text
}

// mendJSON does the same in a listing of nft 1.0.6 with one object a line. A flowtable's handle is the first that its
// table leaves free.
func mendJSON(t testing.TB, lines []string, fts []flowtable) []string {
	t.Helper()
	log := regexp.MustCompile(`\{"log": \{"prefix": "flow add (@[\w-]+)"\}\}`)
	for i := range lines {
		lines[i] = log.ReplaceAllString(lines[i], `{"flow": {"op": "add", "flowtable": "$1"}}`)
	}
	for _, ft := range fts {
		at, handle := len(lines), 0
		for i, o := range objects(t, []byte(document(lines))) {
			if o.fields["family"] != ft.family || o.fields["table"] != ft.table {
				continue
			}
			if h, err := strconv.Atoi(fmt.Sprint(o.fields["handle"])); err == nil {
				handle = max(handle, h)
			}
			if o.kind == "chain" {
				at = min(at, i)
			}
		}
		line := fmt.Sprintf(`{"flowtable": {"family": %q, "name": %q, "table": %q, "handle": %d, "hook": "ingress", "prio": %d%s}}`,
			ft.family, ft.name, ft.table, handle+1, ft.priority(t), ft.devices())
		lines = append(lines[:at], append([]string{line}, lines[at:]...)...)
	}
	return lines
}

// priority is the number that `priority filter - 10` stands for.
func (ft flowtable) priority(t testing.TB) int {
	t.Helper()
	_, p, _ := strings.Cut(ft.block, " priority ")
	p, _, _ = strings.Cut(p, "\n")
	p = strings.ReplaceAll(strings.TrimPrefix(strings.TrimRight(p, ";"), "filter"), " ", "")
	if p == "" {
		return 0
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatalf("flowtable %s: priority %q: %v", ft.name, p, err)
	}
	return n
}

// devices is the member that nft writes for the devices: a string for one, else a list. nft 1.0.6 writes no flags.
func (ft flowtable) devices() string {
	_, d, _ := strings.Cut(ft.block, "devices = {")
	d, _, _ = strings.Cut(d, "}")
	var names []string
	for n := range strings.SplitSeq(d, ",") {
		if n = strings.Trim(strings.TrimSpace(n), `"`); n != "" {
			names = append(names, strconv.Quote(n))
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return `, "dev": ` + names[0]
	}
	return `, "dev": [` + strings.Join(names, ", ") + "]"
}

// TestFlowtablesCutOutOfAListingComeBack holds cut and its opposite to every file with flowtables.
func TestFlowtablesCutOutOfAListingComeBack(t *testing.T) {
	seen := 0
	each(t, func(t *testing.T, f file) {
		text, fts := cut(string(f.text))
		seen += len(fts)
		if strings.Contains(text, "flowtable") || flowAdd().MatchString(strings.ReplaceAll(text, `log prefix "flow add`, "")) {
			t.Errorf("something is left:\n%s", text)
		}
		got := mendText(text, fts)
		if d := diff(strings.Split(got, "\n"), strings.Split(string(f.text), "\n")); d != "" {
			t.Error(d)
		}
	})
	if seen < 5 {
		t.Errorf("%d flowtables in the corpus, want at least 5", seen)
	}
}
