package ruleset

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner reads JSON (RFC 8259), strictly.
type scanner struct {
	document
	at     int
	object int    // index of the object of the ruleset that is being read, or -1
	kind   string // its kind
}

// parseJSON reads a document.
func parseJSON(src string) (*document, error) {
	s := &scanner{document: document{src: src}, object: -1}
	if len(src) > maxDocument {
		return nil, s.fail(maxDocument, "the document is longer than %d bytes", maxDocument)
	}
	s.nodes = make([]node, 0, len(src)/12) // about what nft's output needs
	if err := s.value(0); err != nil {
		return nil, err
	}
	s.blank()
	if s.at < len(src) {
		s.object = -1
		return nil, s.fail(s.at, "something follows the end of the document")
	}
	return &s.document, nil
}

// fail makes an error about a place.
func (s *scanner) fail(at int, format string, args ...any) error {
	e := &SyntaxError{Offset: at, Object: s.object, Kind: s.kind, What: fmt.Sprintf(format, args...)}
	e.locate(s.src)
	return e
}

func (s *scanner) blank() {
	for s.at < len(s.src) {
		switch s.src[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next is the byte at the present place; 0 at the end of the text.
func (s *scanner) next() byte {
	if s.at < len(s.src) {
		return s.src[s.at]
	}
	return 0
}

// unexpected is the error for a byte that cannot be where it is.
func (s *scanner) unexpected(want string) error {
	if s.at >= len(s.src) {
		return s.fail(s.at, "the JSON ends where %s should be", want)
	}
	r, _ := utf8.DecodeRuneInString(s.src[s.at:])
	return s.fail(s.at, "%s should be here, not %q", want, r)
}

// value reads one value at a nesting depth.
func (s *scanner) value(depth int) error {
	s.blank()
	if depth > maxDepth {
		return s.fail(s.at, "nested deeper than %d", maxDepth)
	}
	i := len(s.nodes)
	s.nodes = append(s.nodes, node{start: int32(s.at)})
	var err error
	var k kind
	escaped := false
	switch c := s.next(); {
	case c == '{':
		k, err = kindObject, s.members(depth)
	case c == '[':
		k, err = kindArray, s.elements(depth)
	case c == '"':
		k = kindString
		escaped, err = s.str()
	case c == '-' || c >= '0' && c <= '9':
		k, err = kindNumber, s.number()
	default:
		k, err = s.word()
	}
	if err != nil {
		return err
	}
	n := &s.nodes[i]
	n.kind, n.escaped, n.end, n.next = k, escaped, int32(s.at), int32(len(s.nodes))
	return nil
}

// members reads an object. The objects of a ruleset are at depth 2, as elements of a member of the document.
func (s *scanner) members(depth int) error {
	s.at++
	if s.blank(); s.next() == '}' {
		s.at++
		return nil
	}
	for {
		s.blank()
		if s.next() != '"' {
			return s.unexpected("a member's name")
		}
		i, start := len(s.nodes), s.at
		s.nodes = append(s.nodes, node{kind: kindString, start: int32(start)})
		escaped, err := s.str()
		if err != nil {
			return err
		}
		s.nodes[i].escaped, s.nodes[i].end, s.nodes[i].next = escaped, int32(s.at), int32(len(s.nodes))
		if depth == 2 && s.object >= 0 {
			s.kind = s.src[start+1 : s.at-1]
		}
		if s.blank(); s.next() != ':' {
			return s.unexpected("a colon")
		}
		s.at++
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.blank()
		switch s.next() {
		case ',':
			s.at++
		case '}':
			s.at++
			return nil
		default:
			return s.unexpected("a comma or a closing brace")
		}
	}
}

// elements reads an array.
func (s *scanner) elements(depth int) error {
	s.at++
	if s.blank(); s.next() == ']' {
		s.at++
		return nil
	}
	for {
		if depth == 1 {
			s.object, s.kind = s.object+1, ""
		}
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.blank()
		switch s.next() {
		case ',':
			s.at++
		case ']':
			s.at++
			if depth == 1 {
				s.object, s.kind = -1, ""
			}
			return nil
		default:
			return s.unexpected("a comma or a closing bracket")
		}
	}
}

// str reads a string and reports whether it has escapes.
func (s *scanner) str() (escaped bool, err error) {
	start := s.at
	s.at++
	for s.at < len(s.src) {
		switch c := s.src[s.at]; {
		case c == '"':
			s.at++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		case c < ' ':
			return false, s.fail(s.at, "a control character in a string")
		case c < utf8.RuneSelf:
			s.at++
		default:
			r, n := utf8.DecodeRuneInString(s.src[s.at:])
			if r == utf8.RuneError && n == 1 {
				return false, s.fail(s.at, "a string that is not UTF-8")
			}
			s.at += n
		}
	}
	return false, s.fail(len(s.src), "the JSON ends inside a string that begins at byte %d", start)
}

// escape reads a backslash and what belongs to it.
func (s *scanner) escape() error {
	rest := s.src[s.at+1:]
	switch {
	case rest == "":
		return s.fail(len(s.src), "the JSON ends inside a string")
	case strings.IndexByte(`"\/bfnrt`, rest[0]) >= 0:
		s.at += 2
		return nil
	case rest[0] == 'u' && len(rest) >= 5:
		if _, err := strconv.ParseUint(rest[1:5], 16, 16); err == nil {
			s.at += 6
			return nil
		}
	}
	return s.fail(s.at, "a backslash in a string with nothing known behind it")
}

// number reads a number.
func (s *scanner) number() error {
	if s.next() == '-' {
		s.at++
	}
	if s.next() == '0' {
		s.at++
	} else if !s.digits() {
		return s.unexpected("a digit")
	}
	if s.next() == '.' {
		s.at++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.at++
		if c := s.next(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.at
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		s.at++
	}
	return s.at > from
}

// word reads true, false or null.
func (s *scanner) word() (kind, error) {
	rest := s.src[s.at:]
	switch {
	case strings.HasPrefix(rest, "true"):
		s.at += len("true")
		return kindTrue, nil
	case strings.HasPrefix(rest, "false"):
		s.at += len("false")
		return kindFalse, nil
	case strings.HasPrefix(rest, "null"):
		s.at += len("null")
		return kindNull, nil
	}
	return 0, s.unexpected("a value")
}
