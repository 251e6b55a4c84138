package nft

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Source is a ruleset as the user gave it.
type Source struct {
	Name string // for messages
	Dir  string // directory that relative includes start from
	Text string
}

// includeDepth is nft's own limit (MAX_INCLUDE_DEPTH, include/nftables.h).
const includeDepth = 16

// includePath is where nft looks for included files that have no directory, before the directory of the ruleset
// (DEFAULT_INCLUDE_PATH: sysconfdir).
const includePath = "/etc"

// ReadSource reads a ruleset from a file, or from stdin where the path is "-".
func ReadSource(path string, stdin io.Reader) (Source, error) {
	if path == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return Source{}, fmt.Errorf("read ruleset from standard input: %w", err)
		}
		return Source{Name: "standard input", Dir: ".", Text: string(text)}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Source{}, fmt.Errorf("read ruleset: %w", err)
	}
	return Source{Name: path, Dir: filepath.Dir(path), Text: string(text)}, nil
}

// json reports whether the source is JSON: no nft text begins with a brace.
func (s Source) json() bool { return strings.HasPrefix(strings.TrimSpace(s.Text), "{") }

// expander replaces include statements by what they include.
type expander struct {
	dir   string
	files []string // names, as pos.file counts them
}

// expand returns the tokens of a text with its includes in place.
func (e *expander) expand(name, text string, depth int) ([]token, error) {
	e.files = append(e.files, name)
	toks := lex(text, len(e.files)-1)
	var out []token
	fresh := true // at the beginning of a statement
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if fresh && t.is("include") {
			if j := i + 1 + blanks(toks[i+1:]); j < len(toks) && toks[j].kind == tokenString {
				inc, err := e.include(strings.Trim(toks[j].text, `"`), depth+1)
				if err != nil {
					return nil, &SourceError{File: name, Line: t.pos.line, Err: err}
				}
				out = append(out, inc...)
				i = j
				continue
			}
		}
		if !t.blank() {
			fresh = t.ends() || t.is("{") || t.is("}")
		}
		out = append(out, t)
	}
	return out, nil
}

// blanks counts the blank tokens in front.
func blanks(toks []token) int {
	for i, t := range toks {
		if !t.blank() {
			return i
		}
	}
	return len(toks)
}

// include returns the tokens of all files that a name in an include statement stands for.
func (e *expander) include(name string, depth int) ([]token, error) {
	if depth > includeDepth {
		return nil, fmt.Errorf("include %q: more than %d levels", name, includeDepth)
	}
	files, err := e.find(name)
	if err != nil {
		return nil, err
	}
	var out []token
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("include %q: %w", name, err)
		}
		toks, err := e.expand(f, string(text), depth)
		if err != nil {
			return nil, err
		}
		out = append(out, toks...)
		if n := len(toks); n > 0 && toks[n-1].kind != tokenNewline {
			out = append(out, token{tokenNewline, "\n", toks[n-1].pos})
		}
	}
	return out, nil
}

// find returns the regular files that an included name stands for, in the order nft takes them
// (scanner_include_file, src/scanner.l): a name without a directory is looked up on the include path.
// A pattern may match nothing, a name may not.
func (e *expander) find(name string) ([]string, error) {
	places := []string{name}
	switch {
	case filepath.IsAbs(name):
	case strings.HasPrefix(name, "./"), strings.HasPrefix(name, "../"):
		places = []string{filepath.Join(e.dir, name)}
	default:
		places = []string{filepath.Join(includePath, name), filepath.Join(e.dir, name)}
	}
	for _, p := range places {
		matches, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("include %q: %w", name, err)
		}
		matches = slices.DeleteFunc(matches, func(f string) bool {
			info, err := os.Stat(f)
			return err != nil || !info.Mode().IsRegular()
		})
		if len(matches) > 0 {
			return matches, nil
		}
	}
	if strings.ContainsAny(name, "*?[") {
		return nil, nil
	}
	return nil, fmt.Errorf("include %q: %w", name, fs.ErrNotExist)
}

// asSource makes an error about a place in the source where it is not one already.
func asSource(err error, file string, line int) error {
	var have *SourceError
	if err == nil || errors.As(err, &have) {
		return err
	}
	return &SourceError{File: file, Line: line, Err: err}
}
