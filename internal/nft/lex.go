package nft

import "strings"

// tokenKind says what a token is to the lexer: just enough of nft's scanner (src/scanner.l) to find statements.
type tokenKind uint8

const (
	tokenWord    tokenKind = iota // keyword, name, number, address
	tokenString                   // "quoted", with its quotes
	tokenComment                  // from # to the end of the line
	tokenSpace                    // blanks, and line continuations
	tokenNewline
	tokenPunct // any other single character
)

// pos is a line of a file; file indexes the sources of a program.
type pos struct{ file, line int }

// token is a piece of source text. The texts of all tokens of a source, one after the other, are the source.
type token struct {
	kind tokenKind
	text string
	pos  pos
}

// is reports whether the token is the given word or punctuation.
func (t token) is(s string) bool {
	return (t.kind == tokenWord || t.kind == tokenPunct) && t.text == s
}

// blank reports whether the token has no meaning of its own. A newline has: it ends statements.
func (t token) blank() bool { return t.kind == tokenSpace || t.kind == tokenComment }

// ends reports whether the token separates statements.
func (t token) ends() bool { return t.kind == tokenNewline || t.is(";") }

// lex cuts a source into tokens. It accepts every text.
func lex(src string, file int) []token {
	var out []token
	line := 1
	for len(src) > 0 {
		kind, n := scan(src)
		out = append(out, token{kind, src[:n], pos{file, line}})
		line += strings.Count(src[:n], "\n")
		src = src[n:]
	}
	return out
}

// scan returns the kind and length of the first token of a text that is not empty.
func scan(s string) (tokenKind, int) {
	switch c := s[0]; {
	case c == '\n':
		return tokenNewline, 1
	case c == '#':
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return tokenComment, n
		}
		return tokenComment, len(s)
	case c == '"':
		// As in nft's scanner, no escapes; a string may span lines.
		if n := strings.IndexByte(s[1:], '"'); n >= 0 {
			return tokenString, n + 2
		}
		return tokenPunct, 1
	case blankLen(s) > 0:
		n := 0
		for l := blankLen(s); l > 0; l = blankLen(s[n:]) {
			n += l
		}
		return tokenSpace, n
	case wordByte(c):
		n := 1
		for n < len(s) && wordByte(s[n]) {
			n++
		}
		return tokenWord, n
	}
	return tokenPunct, 1
}

// blankLen is the length of the blank or line continuation at the start of a text.
func blankLen(s string) int {
	switch {
	case strings.HasPrefix(s, "\\\n"):
		return 2
	case s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == '\r'):
		return 1
	}
	return 0
}

// wordByte reports whether a byte can be in a word. Generous: it matters only that keywords come out whole.
func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '/' ||
		c == '-' || c == ':' || c == '*' || c >= 0x80
}

// words returns the tokens that mean something: no blanks, comments or newlines.
func words(toks []token) []token {
	var out []token
	for _, t := range toks {
		if !t.blank() && t.kind != tokenNewline {
			out = append(out, t)
		}
	}
	return out
}

// raw joins the texts of tokens.
func raw(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		b.WriteString(t.text)
	}
	return b.String()
}

// oneLine joins the texts of tokens, without comments and with newlines and continuations as blanks. Newlines that
// are inside a statement are inside braces, where blanks do as well.
func oneLine(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		switch t.kind {
		case tokenComment:
		case tokenNewline, tokenSpace:
			b.WriteByte(' ')
		default:
			b.WriteString(t.text)
		}
	}
	return strings.TrimSpace(b.String())
}
