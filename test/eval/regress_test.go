package eval_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestKeptCasesCountWhatTheKernelCounts repeats the cases that once failed, kept in internal/eval/testdata; EVAL_CASES
// names other files.
func TestKeptCasesCountWhatTheKernelCounts(t *testing.T) {
	files, err := filepath.Glob(env("EVAL_CASES", "../../internal/eval/testdata/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	l := newLab(t)
	l.patience = time.Second
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, fs := "", []frame(nil)
			for _, f := range a.Files {
				switch f.Name {
				case "ruleset.nft":
					text = string(f.Data)
				case "frames":
					fs = frames(t, string(f.Data))
				}
			}
			d, err := l.check(text, fs)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range d {
				t.Error(x)
			}
			if len(d) > 0 {
				t.Log(l.describe(text, fs[0], d))
				return
			}
			l.keep(t, file, a)
		})
	}
}

// keep writes the listing and the kernel's counters to a case, for the test of package eval that needs no kernel, with
// UPDATE_EVAL=1.
func (l *lab) keep(t *testing.T, file string, a *txtar.Archive) {
	now, err := l.list()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		if f.Name == "ruleset.nft" {
			addDevices(now, string(f.Data))
			emptied(t, l, now, string(f.Data))
		}
	}
	listing := ruleset.Encode(now, ruleset.EncodeOptions{})
	if os.Getenv("UPDATE_EVAL") == "" {
		return
	}
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "counted.json" })
	a.Files = append(a.Files, txtar.File{Name: "counted.json", Data: append(listing, '\n')})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// emptied takes out of a listing what the frames have put into sets.
func emptied(t *testing.T, l *lab, now *ruleset.Ruleset, text string) {
	t.Helper()
	before, err := l.load(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, table := range now.Tables {
		for j, s := range table.Sets {
			s.Elems = before.Tables[i].Sets[j].Elems
		}
	}
}

// frames reads lines of "routed HEX" or "bridged HEX". Between them "ct:KEY=VALUE,..." may say what connection tracking
// knows, and "forward" or "input" where the packet is going after a translation.
func frames(t *testing.T, text string) []frame {
	t.Helper()
	var fs []frame
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		data, err := hex.DecodeString(words[len(words)-1])
		if err != nil {
			t.Fatal(err)
		}
		f := frame{data: data, bridge: words[0] == "bridged"}
		for _, w := range words[1 : len(words)-1] {
			ct, ok := strings.CutPrefix(w, "ct:")
			switch {
			case w == "forward":
				f.route = eval.RouteForward
			case w == "input":
				f.route = eval.RouteInput
			case !ok:
				t.Fatalf("%q is not known", w)
			default:
				if f.ct, err = eval.ParseConntrack(ct); err != nil {
					t.Fatal(err)
				}
			}
		}
		fs = append(fs, f)
	}
	return fs
}
