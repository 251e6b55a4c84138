package nft

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// goldenUpdate rewrites the output and report sections of testdata/*.txtar.
var goldenUpdate = flag.Bool("update", false, "rewrite testdata/*.txtar")

// Each archive has a section `input` (or `input.json`), optional files that it includes, an optional section `options`
// ("mark 0x40", "used 127 126", "missing eth1"), and either `output` and `report`, or `error`.
func TestLowerGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	src := Source{Name: "input", Dir: t.TempDir()}
	var o LowerOptions
	want := map[string]string{}
	for _, f := range a.Files {
		switch f.Name {
		case "input", "input.json":
			src.Text = string(f.Data)
		case "options":
			o = parseOptions(t, string(f.Data))
		case "output", "report", "error":
			want[f.Name] = string(f.Data)
		default:
			if err := os.WriteFile(filepath.Join(src.Dir, f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]string{}
	text, report, err := Lower(src, o)
	if err != nil {
		got["error"] = strings.ReplaceAll(err.Error(), src.Dir, "DIR") + "\n"
	} else {
		got["output"], got["report"] = text, render(report)
	}
	if *goldenUpdate {
		rewriteGolden(t, file, a, got)
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got, `go test ./internal/nft -run Golden -update` rewrites:\n%s", d)
	}
	if err == nil {
		accepts(t, src, text)
	}
}

// accepts has nft check a text in an empty namespace.
func accepts(t *testing.T, src Source, text string) {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	args := []string{"-c", "-f", "-"}
	if src.json() {
		args = []string{"-c", "-j", "-f", "/proc/self/fd/0"} // as program.run does
	}
	ns := testkit.NewNS(t, "check")
	if out, err := ns.Pipe(text, "nft", args...); err != nil {
		t.Errorf("nft refuses the output: %v\n%s", err, out)
	}
}

func parseOptions(t *testing.T, text string) LowerOptions {
	t.Helper()
	var o LowerOptions
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch word {
		case "mark":
			_, err = fmt.Sscanf(rest, "0x%x", &o.Mark)
		case "used":
			for f := range strings.FieldsSeq(rest) {
				var n int
				if _, err = fmt.Sscan(f, &n); err == nil {
					o.Used.Add(n)
				}
			}
		case "missing":
			o.Exists = func(d string) bool { return !strings.Contains(" "+rest+" ", " "+d+" ") }
		default:
			t.Fatalf("unknown option %q", line)
		}
		if err != nil {
			t.Fatalf("option %q: %v", line, err)
		}
	}
	return o
}

// render writes a report without its deviations, which every lowering shares; TestDeviations has those.
func render(r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lowered %v, %d rules\n", r.Lowered, r.Rules)
	for _, f := range r.Flowtables {
		fmt.Fprintf(&b, "%s %s %s: hook %q priority %q devices %q missing %q flags %q labels %q mark %#x\n",
			f.Family, f.Table, f.Name, f.Hook, f.Priority, f.Devices, f.Missing, f.Flags, f.Labels, f.Mark)
	}
	return b.String()
}

func rewriteGolden(t *testing.T, file string, a *txtar.Archive, got map[string]string) {
	t.Helper()
	var keep []txtar.File
	for _, f := range a.Files {
		if f.Name != "output" && f.Name != "report" && f.Name != "error" {
			keep = append(keep, f)
		}
	}
	for _, name := range []string{"output", "report", "error"} {
		if s, ok := got[name]; ok {
			keep = append(keep, txtar.File{Name: name, Data: []byte(s)})
		}
	}
	a.Files = keep
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDeviations_AreThoseOfTheRuleset(t *testing.T) {
	const head = "table ip t {\nflowtable f { hook ingress priority 0; devices = { a }; %s }\nchain c { %s\n }\n}\n"
	lower := func(flags, rule string, o LowerOptions) string {
		_, r, err := Lower(Source{Name: "x", Text: fmt.Sprintf(head, flags, rule)}, o)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.Deviations, "\n")
	}
	tests := map[string]struct {
		flags, rule string
		mark        uint32
		has, hasNot []string
	}{
		"no rule":           {hasNot: []string{"taken"}},
		"hardware":          {flags: "flags offload;", has: []string{"`flags offload`"}, hasNot: []string{"`counter`"}},
		"counter":           {flags: "counter;", has: []string{"`counter`"}},
		"label":             {rule: "flow add @f", has: []string{"no room", "GRE"}, hasNot: []string{"mark bit"}},
		"mark":              {rule: "flow add @f", mark: 1, has: []string{"already carry the mark"}, hasNot: []string{"no room", "share"}},
		"mark of two rules": {rule: "flow add @f; flow add @f", mark: 1, has: []string{"share the mark bit"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := lower(tt.flags, tt.rule, LowerOptions{Mark: tt.mark})
			for _, s := range tt.has {
				if !strings.Contains(got, s) {
					t.Errorf("no deviation with %q in:\n%s", s, got)
				}
			}
			for _, s := range tt.hasNot {
				if strings.Contains(got, s) {
					t.Errorf("a deviation with %q in:\n%s", s, got)
				}
			}
		})
	}
}

func TestLower_IncludeOfNothing_NamesPlaceAndCause(t *testing.T) {
	_, _, err := Lower(Source{Name: "x.nft", Dir: t.TempDir(), Text: "\n\ninclude \"./gone.nft\"\n"}, LowerOptions{})
	var se *SourceError
	if !errors.As(err, &se) || se.File != "x.nft" || se.Line != 3 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLower_AllLabelsUsed_Refuses(t *testing.T) {
	all := handover.Labels{^uint64(0), ^uint64(0)}
	_, _, err := Lower(Source{Text: "table ip t {\nchain c {\nflow add @f\n}\n}\n"}, LowerOptions{Used: all})
	if _, ok := errors.AsType[*UnsupportedError](err); !ok {
		t.Errorf("got %v, want an UnsupportedError", err)
	}
}

// What the unlowered kind of rewriting may touch: devices and flags of flowtables, nothing else.
func TestRewrite_Unlowered_ChangesOnlyDevicesAndFlags(t *testing.T) {
	const text = "define lan = { eth0, gone }\ntable inet t {\n flowtable f {\n  hook ingress priority 0\n  flags offload\n" +
		"  devices = { $lan, eth1 } # all\n }\n chain c { type filter hook forward priority 0; flow add @f\n }\n}\n"
	exists := func(d string) bool { return d != "gone" }
	matches := devices{exists: exists, matching: func(p string) []string {
		return map[string][]string{"eth*": {"eth0", "eth1"}, "kept*": {"kept*"}}[p]
	}}
	f := key{"inet", "t", "f"}
	tests := map[string]struct {
		text string
		e    edit
		want string // text with this done to it
	}{
		"nothing missing": {text: text, want: text},
		"a device missing": {
			text: text, e: edit{devices: devices{exists: exists}},
			want: strings.Replace(text, "devices = { $lan, eth1 } # all", ` devices = { "eth0", "eth1" } `, 1),
		},
		"offload refused": {
			text: text, e: edit{noOffload: map[key]string{f: "no"}},
			want: strings.Replace(strings.Replace(text, "  flags offload", "", 1), " # all", " ", 1),
		},
		"all missing": {
			text: "add table ip t\nadd flowtable ip t f { hook ingress priority 0; devices = { gone }; }\n", e: edit{devices: devices{exists: exists}},
			want: "add table ip t\nadd flowtable ip t f { hook ingress priority 0;; }\n",
		},
		"patterns": {
			text: "table ip t {\n flowtable f {\n  devices = { eth0, \"eth*\", \"ppp*\" }\n }\n}\n", e: edit{devices: matches},
			want: "table ip t {\n flowtable f {\n  devices = { \"eth0\", \"eth1\" }\n }\n}\n",
		},
		"patterns that the kernel takes": {
			text: "table ip t {\n flowtable f {\n  devices = { \"kept*\" }\n }\n}\n", e: edit{devices: matches},
			want: "table ip t {\n flowtable f {\n  devices = { \"kept*\" }\n }\n}\n",
		},
		"patterns in JSON": {
			text: `{"nftables":[{"flowtable":{"family":"ip","table":"t","name":"f","dev":["eth*"]}}]}`, e: edit{devices: matches},
			want: `{"nftables":[{"add":{"flowtable":{"dev":["eth0","eth1"],"family":"ip","name":"f","table":"t"}}}]}`,
		},
		"JSON": {
			text: `{"nftables":[{"flowtable":{"family":"ip","table":"t","name":"f","dev":["eth0","gone"]}}]}`, e: edit{devices: devices{exists: exists}},
			want: `{"nftables":[{"add":{"flowtable":{"dev":["eth0"],"family":"ip","name":"f","table":"t"}}}]}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := rewrite(Source{Name: "x", Text: tt.text}, tt.e)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Fields(tt.want), strings.Fields(p.text)); d != "" && strings.Join(strings.Fields(tt.want), "") != strings.Join(strings.Fields(p.text), "") {
				t.Errorf("-want +got:\n%s", d)
			}
			if p.report.Lowered {
				t.Error("reported as lowered")
			}
		})
	}
}

// Every line of a lowered text leads back to the line of the file that it came from.
func TestRewrite_Lines_LeadBackToTheirFiles(t *testing.T) {
	dir := t.TempDir()
	inc := filepath.Join(dir, "inc.nft")
	if err := os.WriteFile(inc, []byte("# one\ntcp dport 22 accept\nudp dport 1 flow add @f\nudp dport 9 accept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := Source{Name: "main", Dir: dir, Text: "table ip t {\n flowtable f {\n  hook ingress priority 0\n }\n chain c {\n" +
		"  include \"./inc.nft\"\n  tcp dport 80 flow add @f accept\n  tcp dport 81 accept\n }\n}\n# end\n"}
	p, err := rewrite(src, edit{lower: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"tcp dport 22 accept": inc + ":2",
		"udp dport 1 jump":    inc + ":3",
		"udp dport 9 accept":  inc + ":4",
		"tcp dport 80 jump":   "main:7",
		"tcp dport 81 accept": "main:8",
		"set f {":             "main:2",
		"# end":               "main:11",
	}
	for i, line := range strings.Split(strings.TrimSuffix(p.text, "\n"), "\n") {
		for part, place := range want {
			if strings.Contains(line, part) {
				file, n := p.where(i + 1)
				if got := fmt.Sprintf("%s:%d", file, n); got != place {
					t.Errorf("%q is at %s, want %s", line, got, place)
				}
				delete(want, part)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the output: %v\n%s", want, p.text)
	}
}

func FuzzLower(f *testing.F) {
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
			f.Add(string(s.Data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			return // would read files
		}
		src := Source{Name: "fuzz", Text: text}
		p, err := rewrite(src, edit{lower: true})
		if err != nil {
			return
		}
		if !strings.Contains(text, "flow") && p.text != text {
			t.Errorf("changed a text without flow:\n%q\n%q", text, p.text)
		}
		if p.changed && !src.json() {
			again, err := rewrite(Source{Name: "fuzz", Text: p.text}, edit{lower: true})
			if err != nil {
				t.Fatalf("cannot read own output: %v\n%s", err, p.text)
			}
			if again.report.Rules != 0 {
				t.Errorf("%d `flow add` left in:\n%s", again.report.Rules, p.text)
			}
			if n := strings.Count(p.text, "\n"); n > 0 {
				if _, line := p.where(n); line < 1 || line > 1+strings.Count(text, "\n") {
					t.Errorf("line %d of the output is line %d of %d", n, line, strings.Count(text, "\n"))
				}
			}
		}
		if raw(lex(text, 0)) != text {
			t.Error("tokens are not the text")
		}
	})
}
