package rules_test

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// kept is a case that once failed.
type kept struct {
	text   string
	frames map[string][][]byte // by device
}

// TestKeptCasesRunEarlyAsNFTablesRunsThem repeats the cases that once failed, kept in internal/bpfgen/testdata; RULES_CASES
// names other files. Each is a ruleset and lines of frames, with the device that they come in by.
func TestKeptCasesRunEarlyAsNFTablesRunsThem(t *testing.T) {
	files, err := filepath.Glob(env("RULES_CASES", "../../internal/bpfgen/testdata/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	l := newLab(t)
	p := newProof(t, l)
	p.strict = true
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			k, err := readCase(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range l.in {
				if len(k.frames[d.Name]) > 0 {
					p.repeat(t, k, d)
				}
			}
		})
	}
}

func readCase(file string) (kept, error) {
	k := kept{frames: map[string][][]byte{}}
	a, err := txtar.ParseFile(file)
	if err != nil {
		return k, err
	}
	for _, f := range a.Files {
		switch f.Name {
		case "ruleset.nft":
			k.text = string(f.Data)
		case "frames":
			for line := range strings.Lines(string(f.Data)) {
				var device, digits string
				if _, err := fmt.Sscan(line, &device, &digits); err != nil {
					return k, fmt.Errorf("read frame %q: %w", line, err)
				}
				data, err := hex.DecodeString(digits)
				if err != nil {
					return k, fmt.Errorf("read frame %q: %w", line, err)
				}
				k.frames[device] = append(k.frames[device], data)
			}
		}
	}
	return k, nil
}

// repeat compares a case in every way.
func (p *proof) repeat(t *testing.T, k kept, d *device) {
	report := func(f *failure, err error) {
		if err != nil {
			t.Error(err)
		} else if f != nil {
			t.Errorf("%s\n%s", f, p.describe(f))
		}
	}
	for _, hook := range hooks() {
		rs, err := p.lab.load(k.text)
		if err != nil {
			t.Fatal(err)
		}
		report(p.early(k.text, rs, d, hook, k.frames[d.Name]))
		report(p.alive(k.text, d, hook, k.frames[d.Name], patience))
	}
}
