package nft

import (
	"errors"
	"fmt"
)

// scope is the block that a statement is in.
type scope struct {
	kind          scopeKind
	family, table string
	hook          string   // of a chain, once its `type ... hook` statement has been read
	outer         *scope   // the table block around a chain
	tail          []string // chains to add at the end of a table block, each with its lines
	tailPos       []pos
}

type scopeKind uint8

const (
	scopeTop scopeKind = iota
	scopeTable
	scopeChain
)

// textRewriter walks the tokens of a ruleset once and writes the edited text.
type textRewriter struct {
	edit
	files   []string
	toks    []token
	at      int
	out     *output
	vars    map[string][]token
	passes  map[key]bool // tables that have a nft_offload_pass already
	count   labels
	changed bool
	flushes bool
	tables  []Flowtable
	ties    map[key]*tie
	rules   int
}

func rewriteText(src Source, toks []token, files []string, e edit) (program, labels, error) {
	w := &textRewriter{
		edit: e, files: files, toks: toks, out: newOutput(),
		vars: map[string][]token{}, passes: map[key]bool{}, ties: map[key]*tie{},
	}
	if err := w.block(&scope{kind: scopeTop}); err != nil {
		return program{}, labels{}, err
	}
	p := program{
		text: w.out.b.String(), changed: w.changed, flushes: w.flushes,
		report: Report{Lowered: w.lower && w.changed, Flowtables: w.tables, Rules: w.rules},
	}
	tieAll(p.report.Flowtables, w.ties)
	lines := w.out.lines
	if !w.changed {
		p.text = src.Text
		lines = nil
	}
	p.where = func(line int) (string, int) {
		if lines == nil || line < 1 || line > len(lines) {
			return src.Name, line
		}
		at := lines[line-1]
		return files[at.file], at.line
	}
	return p, w.count, nil
}

// fail puts the place of a token on an error.
func (w *textRewriter) fail(at pos, err error) error {
	if err == nil {
		return nil
	}
	return asSource(err, w.files[at.file], at.line)
}

// block writes the statements up to the end of a block; its closing brace stays unread.
func (w *textRewriter) block(s *scope) error {
	for w.at < len(w.toks) {
		t := w.toks[w.at]
		if t.is("}") && s.kind != scopeTop {
			return nil
		}
		if t.ends() || t.is("}") {
			w.out.put(t)
			w.at++
			continue
		}
		n := statementLen(w.toks[w.at:])
		if err := w.statement(s, w.toks[w.at:w.at+n]); err != nil {
			return err
		}
	}
	return nil
}

// statement writes one statement and moves on behind it. A statement that opens a table or a chain is written up to
// the end of that block.
func (w *textRewriter) statement(s *scope, stmt []token) error {
	ws := words(stmt)
	if len(ws) == 0 {
		w.copy(stmt)
		return nil
	}
	head := ws
	for i, t := range ws {
		if t.is("{") {
			head = ws[:i]
			break
		}
	}
	opens := len(head) < len(ws)
	switch {
	case head0(head, "define") || head0(head, "redefine"):
		if len(ws) >= 3 {
			w.vars[ws[1].text] = ws[3:]
		}
	case s.kind == scopeTop && head0(head, "flush") && len(head) >= 2 && head[1].is("ruleset"):
		w.flushes = true
	case s.kind == scopeChain && head0(head, "type"):
		for i := range len(head) - 1 {
			if head[i].is("hook") {
				s.hook = head[i+1].text
			}
		}
	}
	if inner, ok := openScope(s, head); ok && opens {
		return w.nested(inner)
	}
	if k, verb, ok := flowtableHead(s, head); ok {
		return w.flowtable(s, k, verb, opens, stmt, ws[0])
	}
	if i, depth := flowStatement(stmt); i >= 0 {
		if depth > 0 {
			return w.fail(stmt[i].pos, errors.New("`flow add` inside braces that are no table or chain"))
		}
		return w.flowAdd(s, stmt, i)
	}
	w.copy(stmt)
	return nil
}

func head0(head []token, word string) bool { return len(head) > 0 && head[0].is(word) }

// copy writes a statement as it is.
func (w *textRewriter) copy(stmt []token) {
	w.out.puts(stmt)
	w.at += len(stmt)
}

// openScope returns the scope that a statement opens: a table, or a chain.
func openScope(s *scope, head []token) (*scope, bool) {
	if s.kind == scopeTable {
		if len(head) == 2 && head[0].is("chain") {
			return &scope{kind: scopeChain, family: s.family, table: s.table, outer: s}, true
		}
		return nil, false
	}
	if s.kind == scopeTop && (head0(head, "add") || head0(head, "create")) {
		head = head[1:]
	}
	if s.kind != scopeTop || len(head) < 2 {
		return nil, false
	}
	family, rest := takeFamily(head[1:])
	switch {
	case head[0].is("table") && len(rest) == 1:
		return &scope{kind: scopeTable, family: family, table: rest[0].text}, true
	case head[0].is("chain") && len(rest) == 2:
		return &scope{kind: scopeChain, family: family, table: rest[0].text}, true
	}
	return nil, false
}

// takeFamily splits an optional family off; without one nft means ip.
func takeFamily(ws []token) (string, []token) {
	if len(ws) > 1 && ws[0].kind == tokenWord && isFamily(ws[0].text) {
		return ws[0].text, ws[1:]
	}
	return "ip", ws
}

// nested writes a table or chain block, braces included.
func (w *textRewriter) nested(s *scope) error {
	if s.kind == scopeChain && s.outer == nil {
		return w.nestedChain(s)
	}
	if err := w.braces(s); err != nil {
		return err
	}
	w.closing(s, s.tail)
	return nil
}

// nestedChain writes a chain block outside a table block, behind the chains that its rules jump to.
func (w *textRewriter) nestedChain(s *scope) error {
	before := w.out
	w.out = newOutput()
	err := w.braces(s)
	inner := w.out
	w.out = before
	if err != nil {
		return err
	}
	for i, c := range s.tail {
		w.out.text(c, s.tailPos[i])
	}
	w.out.append(inner)
	w.closing(s, nil)
	return nil
}

// braces writes the head of a block and what is between its braces.
func (w *textRewriter) braces(s *scope) error {
	for w.at < len(w.toks) {
		t := w.toks[w.at]
		w.out.put(t)
		w.at++
		if t.is("{") {
			break
		}
	}
	return w.block(s)
}

// closing writes chains and the closing brace of a block.
func (w *textRewriter) closing(s *scope, tail []string) {
	if len(tail) > 0 && !w.out.fresh {
		w.out.text("\n", s.tailPos[0])
	}
	for i, c := range tail {
		w.out.text("\n\t"+c, s.tailPos[i])
	}
	if w.at < len(w.toks) { // the closing brace; missing at the end of a broken text
		w.out.put(w.toks[w.at])
		w.at++
	}
}

// flowtableHead recognises a statement about a flowtable.
func flowtableHead(s *scope, head []token) (k key, verb string, ok bool) {
	if s.kind == scopeTable {
		if len(head) == 2 && head[0].is("flowtable") {
			return key{s.family, s.table, head[1].text}, "", true
		}
		return key{}, "", false
	}
	if s.kind != scopeTop || len(head) < 2 {
		return key{}, "", false
	}
	verb = "add"
	switch head[0].text {
	case "add", "create", "delete", "destroy", "list":
		verb, head = head[0].text, head[1:]
	}
	if !head[0].is("flowtable") {
		return key{}, "", false
	}
	family, rest := takeFamily(head[1:])
	if len(rest) != 2 {
		return key{}, "", false
	}
	return key{family, rest[0].text, rest[1].text}, verb, true
}

// flowtable writes a flowtable block, or a command about one.
func (w *textRewriter) flowtable(s *scope, k key, verb string, opens bool, stmt []token, first token) error {
	if !opens {
		if w.lower && verb != "" {
			w.changed = true
			w.out.puts(leading(stmt))
			w.out.text(fmt.Sprintf("%s set %s %s %s", verb, k.family, k.table, k.name), first.pos)
			w.at += len(stmt)
			return nil
		}
		w.copy(stmt)
		return nil
	}
	if err := checkFamily(k.family); err != nil {
		return w.fail(first.pos, err)
	}
	open, end := -1, -1
	for i, t := range stmt {
		switch {
		case t.is("{") && open < 0:
			open = i
		case t.is("}"):
			end = i
		}
	}
	if end < open { // the text ends inside the block
		return w.fail(first.pos, fmt.Errorf("flowtable %s: no closing brace", k.name))
	}
	b, err := parseBlock(Flowtable{Family: k.family, Table: k.table, Name: k.name}, stmt[open+1:end], w.vars, w.devices)
	if err != nil {
		return w.fail(first.pos, w.locate(err, first.pos))
	}
	why, refused := w.noOffload[k]
	b.table.Refused = why
	w.tables = append(w.tables, b.table)
	if !w.lower {
		text, changed := b.kept(refused)
		if !changed {
			w.copy(stmt)
			return nil
		}
		w.changed = true
		w.out.puts(stmt[:open+1])
		w.out.text(text, first.pos)
		w.out.puts(stmt[end:])
		w.at += len(stmt)
		return nil
	}
	w.changed = true
	w.out.puts(leading(stmt))
	head := "set " + k.name
	if s.kind == scopeTop {
		head = fmt.Sprintf("%s set %s %s %s", verb, k.family, k.table, k.name)
	}
	w.out.text(head+" "+b.setBody(), first.pos)
	w.out.puts(stmt[end+1:])
	w.at += len(stmt)
	return nil
}

// locate adds the file to an error that knows its line only.
func (w *textRewriter) locate(err error, at pos) error {
	if se, ok := err.(*SourceError); ok && se.File == "" { //nolint:errorlint // made by parseBlock, never wrapped
		se.File = w.files[at.file]
	}
	return err
}

// leading returns the blanks in front of a statement.
func leading(stmt []token) []token { return stmt[:blanks(stmt)] }
