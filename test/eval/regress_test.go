package eval_test

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
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
			}
		})
	}
}

// frames reads lines of "routed HEX" or "bridged HEX".
func frames(t *testing.T, text string) []frame {
	t.Helper()
	var fs []frame
	for line := range strings.Lines(text) {
		way, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		fs = append(fs, frame{data, way == "bridged"})
	}
	return fs
}
