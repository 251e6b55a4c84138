package ruleset

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Str returns a member that is a string.
func (x Extra) Str(name string) (string, bool) {
	var s string
	raw, ok := x[name]
	if !ok || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// Int returns a member that is an integer.
func (x Extra) Int(name string) (int, bool) {
	n, err := strconv.Atoi(string(x[name]))
	return n, err == nil
}

// Uint returns a member that is a natural number.
func (x Extra) Uint(name string) (uint64, bool) {
	n, err := strconv.ParseUint(string(x[name]), 10, 64)
	return n, err == nil
}

// Bool returns a member that is true or false; false where there is none.
func (x Extra) Bool(name string) bool { return string(x[name]) == "true" }

// Words returns a member that is a string or an array of strings.
func (x Extra) Words(name string) []string {
	var words []string
	if s, ok := x.Str(name); ok {
		return []string{s}
	}
	if json.Unmarshal(x[name], &words) != nil {
		return nil
	}
	return words
}

// Expr returns a member that is an expression; nil where there is none.
func (x Extra) Expr(name string) Expr {
	raw, ok := x[name]
	if !ok {
		return nil
	}
	d, err := parseJSON(string(raw))
	if err != nil {
		return Opaque{raw}
	}
	b := &builder{document: d}
	return b.expr(value{d, 0})
}

// Names returns the names of the members, sorted.
func (x Extra) Names() []string { return slices.Sorted(maps.Keys(x)) }
