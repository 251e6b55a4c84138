package ruleset

import (
	"encoding/json"
	"iter"
	"strconv"
)

// document is a JSON text and its values in the order of the text. Values are not copied: they are spans of the text.
// One pass, so that the place of everything is known and a large set costs no map for each element.
type document struct {
	src   string
	nodes []node
}

// node is a JSON value, or the key of a member.
type node struct {
	kind       kind
	escaped    bool  // a string with a backslash in it
	start, end int32 // span in the text; strings with their quotes
	next       int32 // index of the first node that is neither this one nor inside it
}

// kind is what a JSON value is.
type kind byte

const (
	kindObject kind = iota
	kindArray
	kindString
	kindNumber
	kindTrue
	kindFalse
	kindNull
)

// String is the kind in words, for messages.
func (k kind) String() string {
	return [...]string{"an object", "an array", "a string", "a number", "true", "false", "null"}[k]
}

// value is a node of a document.
type value struct {
	d *document
	i int32
}

func (v value) node() node     { return v.d.nodes[v.i] }
func (v value) is(k kind) bool { return v.node().kind == k }
func (v value) text() string   { n := v.node(); return v.d.src[n.start:n.end] }
func (v value) offset() int    { return int(v.node().start) }
func (v value) empty() bool    { return v.node().next == v.i+1 }
func (v value) isNull() bool   { return v.is(kindNull) }
func (v value) isBool() bool   { return v.is(kindTrue) || v.is(kindFalse) }

// str returns a string's value.
func (v value) str() string {
	n := v.node()
	if !n.escaped {
		return v.d.src[n.start+1 : n.end-1]
	}
	var s string
	if err := json.Unmarshal([]byte(v.text()), &s); err != nil {
		return v.text() // not reached: the scanner checked it
	}
	return s
}

// uint returns a number that is a natural one.
func (v value) uint() (uint64, bool) {
	if !v.is(kindNumber) {
		return 0, false
	}
	n, err := strconv.ParseUint(v.text(), 10, 64)
	return n, err == nil
}

// members iterates over the members of an object.
func (v value) members() iter.Seq2[string, value] {
	return func(yield func(string, value) bool) {
		end := v.node().next
		for i := v.i + 1; i < end; {
			key, val := value{v.d, i}, value{v.d, i + 1}
			if !yield(key.str(), val) {
				return
			}
			i = val.node().next
		}
	}
}

// elems iterates over the elements of an array.
func (v value) elems() iter.Seq[value] {
	return func(yield func(value) bool) {
		end := v.node().next
		for i := v.i + 1; i < end; i = v.d.nodes[i].next {
			if !yield(value{v.d, i}) {
				return
			}
		}
	}
}

// count is the number of elements of an array.
func (v value) count() int {
	n := 0
	for range v.elems() {
		n++
	}
	return n
}

// only returns the single member of an object.
func (v value) only() (key string, val value, ok bool) {
	if !v.is(kindObject) || v.empty() {
		return "", value{}, false
	}
	val = value{v.d, v.i + 2}
	if val.node().next != v.node().next {
		return "", value{}, false
	}
	return value{v.d, v.i + 1}.str(), val, true
}

// get returns a member of an object; the last one of that name, as jansson does.
func (v value) get(key string) (value, bool) {
	var found value
	if !v.is(kindObject) {
		return found, false
	}
	ok := false
	for k, m := range v.members() {
		if k == key {
			found, ok = m, true
		}
	}
	return found, ok
}
