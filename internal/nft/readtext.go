package nft

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// markPrefix begins the names of the counters that stand for flowtables while nft reads a text. A scratch namespace
// has no devices that could take a flowtable's flags, and many kernels have no flowtables at all. So a flowtable
// becomes a counter object and `flow add @f` becomes `counter name "nft_offload_flow_f"`, which nft takes wherever it
// takes `flow add`, keeps in place, and refuses where the flowtable is not there.
const markPrefix = "nft_offload_flow_"

// Bounds of a text; ruleset.Decode has the same for JSON.
const (
	ruleLen   = 4 << 20 // bytes of one rule
	deviceLen = 15      // bytes of a device name (IFNAMSIZ-1, if.h)
)

// insane is what is wrong with a statement before anybody parses it.
type insane struct {
	pos  pos
	what string
}

func (e *insane) at(files []string) error {
	return &SourceError{File: files[e.pos.file], Line: e.pos.line, Err: errors.New(e.what)}
}

// sane refuses rules beyond all bounds, and strings with control characters, which would go into messages.
func sane(s *scope, stmt []token) *insane {
	n := 0
	for _, t := range stmt {
		n += len(t.text)
		if t.kind == tokenString && strings.ContainsFunc(t.text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }) {
			return &insane{t.pos, fmt.Sprintf("a control character in the string %q", t.text)}
		}
	}
	if s.kind == scopeChain && n > ruleLen {
		return &insane{stmt[0].pos, fmt.Sprintf("a rule of %d bytes, more than the %d that one may have", n, ruleLen)}
	}
	return nil
}

// reader walks the tokens of a ruleset once. It takes out what a scratch namespace cannot have: flowtables, and
// `flags offload` of chains.
type reader struct {
	files   []string
	toks    []token
	at      int
	out     *output
	vars    map[string][]token
	flows   map[key]*ruleset.Flowtable
	offload map[key]bool    // chains with the flag
	devices map[string]bool // what may be names of devices
}

// stripText rewrites a source for the scratch namespace.
func stripText(src Source) (*reader, error) {
	x := &expander{dir: src.Dir}
	toks, err := x.expand(src.Name, src.Text, 0)
	if err != nil {
		return nil, err
	}
	r := &reader{
		files: x.files, toks: toks, out: newOutput(), vars: map[string][]token{},
		flows: map[key]*ruleset.Flowtable{}, offload: map[key]bool{}, devices: map[string]bool{},
	}
	return r, r.block(&scope{kind: scopeTop}, key{})
}

// where maps a line of the rewritten text to the user's.
func (r *reader) where(line int) (string, int) {
	if line < 1 || line > len(r.out.lines) {
		return r.files[0], line
	}
	at := r.out.lines[line-1]
	return r.files[at.file], at.line
}

// block reads the statements up to the end of a block; chain names it where it is a chain.
func (r *reader) block(s *scope, chain key) error {
	for r.at < len(r.toks) {
		t := r.toks[r.at]
		if t.is("}") && s.kind != scopeTop {
			return nil
		}
		if t.ends() || t.is("}") {
			r.out.put(t)
			r.at++
			continue
		}
		n := statementLen(r.toks[r.at:])
		stmt := r.toks[r.at : r.at+n]
		if err := sane(s, stmt); err != nil {
			return err.at(r.files)
		}
		if err := r.statement(s, chain, stmt); err != nil {
			return asSource(err, r.files[stmt[0].pos.file], stmt[0].pos.line)
		}
	}
	return nil
}

// statement reads one statement and moves on behind it.
func (r *reader) statement(s *scope, chain key, stmt []token) error {
	short := until(stmt, "{")
	head := words(short)
	if inner, ok := openScope(s, head); ok && len(short) < len(stmt) {
		return r.nested(inner, head)
	}
	if k, verb, ok := flowtableHead(s, head); ok {
		return r.flowtable(s, k, verb, stmt)
	}
	ws := words(stmt)
	if len(ws) == 0 {
		return r.copy(stmt)
	}
	switch {
	case (ws[0].is("define") || ws[0].is("redefine")) && len(ws) >= 3:
		r.vars[ws[1].text] = ws[3:]
		r.candidates(ws[2:])
	case s.kind == scopeChain && ws[0].is("type"):
		for i := range len(ws) - 1 {
			if ws[i].is("hook") {
				s.hook = ws[i+1].text
			}
		}
	case s.kind == scopeChain && len(ws) == 2 && ws[0].is("flags") && ws[1].is("offload"):
		r.offload[chain] = true
		r.out.puts(leading(stmt))
		r.at += len(stmt)
		return nil
	}
	if namesDevices(ws) {
		r.candidates(ws)
	}
	return r.flowAdds(s, stmt)
}

// copy writes a statement as it is.
func (r *reader) copy(stmt []token) error {
	r.out.puts(stmt)
	r.at += len(stmt)
	return nil
}

// nested reads a table or chain block, braces included.
func (r *reader) nested(s *scope, head []token) error {
	for r.at < len(r.toks) {
		t := r.toks[r.at]
		r.out.put(t)
		r.at++
		if t.is("{") {
			break
		}
	}
	if err := r.block(s, key{s.family, s.table, head[len(head)-1].text}); err != nil {
		return err
	}
	if r.at < len(r.toks) { // the closing brace; missing at the end of a broken text
		r.out.put(r.toks[r.at])
		r.at++
	}
	return nil
}

// flowtable puts a counter in the place of a flowtable, in a block or a command.
func (r *reader) flowtable(s *scope, k key, verb string, stmt []token) error {
	first := stmt[blanks(stmt)]
	r.out.puts(leading(stmt))
	open, end := -1, -1
	for i, t := range stmt {
		switch {
		case t.is("{") && open < 0:
			open = i
		case t.is("}"):
			end = i
		}
	}
	if open >= 0 {
		if end < open {
			return fmt.Errorf("flowtable %s: no closing brace", k.name)
		}
		if err := r.describe(k, stmt[open+1:end]); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("counter %s%s", markPrefix, k.name)
	if s.kind == scopeTop {
		text = fmt.Sprintf("%s counter %s %s %s%s", verb, k.family, k.table, markPrefix, k.name)
	}
	if verb != "delete" && verb != "destroy" && verb != "list" {
		text += " { }"
	}
	r.out.text(text, first.pos)
	if open >= 0 {
		r.out.puts(stmt[end+1:])
	}
	r.at += len(stmt)
	return nil
}

// describe notes what the block of a flowtable says. A second block adds devices to the first.
func (r *reader) describe(k key, body []token) error {
	if err := checkFamily(k.family); err != nil {
		return err
	}
	b, err := parseBlock(Flowtable{Family: k.family, Table: k.table, Name: k.name}, body, r.vars, devices{})
	if err != nil {
		return err
	}
	if b.raw != "" {
		return fmt.Errorf("flowtable %s: a variable that is not defined in devices = %s", k.name, b.raw)
	}
	f := r.flows[k]
	if f == nil {
		f = &ruleset.Flowtable{Family: ruleset.Family(k.family), Table: k.table, Name: k.name}
		r.flows[k] = f
	}
	if b.table.Hook != "" {
		f.Hook = b.table.Hook
		if f.Priority, err = r.priority(b.table.Priority); err != nil {
			return fmt.Errorf("flowtable %s: %w", k.name, err)
		}
	}
	for _, d := range b.table.Devices {
		if len(d) > deviceLen {
			return fmt.Errorf("flowtable %s: the device name %q is longer than %d bytes", k.name, d, deviceLen)
		}
		f.Devices = appendNew(f.Devices, d)
	}
	for _, flag := range b.table.Flags {
		f.Flags = appendNew(f.Flags, flag)
	}
	return nil
}

// priority reads "0", "-10", "filter", "filter+5", or a variable with one of them.
func (r *reader) priority(s string) (int, error) {
	if name, ok := strings.CutPrefix(s, "$"); ok {
		s = strings.ReplaceAll(oneLine(r.vars[name]), " ", "")
		s = strings.Trim(s, `"`)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(s, "filter"))
	if err != nil && s != "filter" {
		return 0, fmt.Errorf("priority %q is no number", s)
	}
	return n, nil
}

// flowAdds writes a statement with markers in the place of `flow add`.
func (r *reader) flowAdds(s *scope, stmt []token) error {
	r.at += len(stmt)
	for {
		i, _ := flowStatement(stmt)
		if i < 0 {
			r.out.puts(stmt)
			return nil
		}
		if s.hook != "" && s.hook != "forward" {
			return errors.New("`flow add` works in chains of the forward hook, not " + s.hook)
		}
		name := i
		for range 3 { // from `flow` over `add` and `@` to the name
			name += 1 + blanks(stmt[name+1:])
		}
		r.out.puts(stmt[:i])
		r.out.text(fmt.Sprintf("counter name %q", markPrefix+stmt[name].text), stmt[i].pos)
		stmt = stmt[name+1:]
	}
}

// namesDevices reports whether a statement may need a device to be there.
func namesDevices(ws []token) bool {
	for _, w := range ws {
		switch w.text {
		case "device", "devices", "iif", "oif", "sdif", "fwd", "dup", "iface_index":
			return true
		}
	}
	return false
}

// candidates notes all words that could be names of devices. Too many do no harm in a namespace of their own.
func (r *reader) candidates(ws []token) {
	for _, name := range names(ws) {
		if _, err := strconv.Atoi(name); err != nil && validDevice(name) {
			r.devices[name] = true
		}
	}
}

// validDevice reports whether a device can have a name (dev_valid_name, net/core/dev.c), besides lo, which is there.
func validDevice(s string) bool {
	if s == "" || len(s) > deviceLen || s == "." || s == ".." || s == "lo" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("._-@+", c) < 0 {
			return false
		}
	}
	return true
}

// raise puts flowtables and flags back in the place of what stood for them. Handles of a scratch namespace mean
// nothing.
func (r *reader) raise(rs *ruleset.Ruleset) {
	for _, t := range rs.Tables {
		t.Handle = 0
		var rest []*ruleset.Object
		for _, o := range t.Objects {
			o.Handle = 0
			name, ok := strings.CutPrefix(o.Name, markPrefix)
			f := r.flows[key{string(t.Family), t.Name, name}]
			if !ok || o.Kind != "counter" || f == nil {
				rest = append(rest, o)
				continue
			}
			t.Flowtables = append(t.Flowtables, f)
		}
		t.Objects = rest
		for _, s := range t.Sets {
			s.Handle = 0
		}
		for _, c := range t.Chains {
			r.raiseChain(c)
		}
	}
}

func (r *reader) raiseChain(c *ruleset.Chain) {
	c.Handle = 0
	if r.offload[key{string(c.Family), c.Table, c.Name}] && c.Base != nil {
		c.Base.Flags = appendNew(c.Base.Flags, "offload")
	}
	for _, u := range c.Rules {
		u.Handle = 0
		for i, s := range u.Stmts {
			counter, ok := s.(ruleset.Counter)
			if !ok {
				continue
			}
			ref, _ := counter.Ref.(ruleset.Str)
			if name, ok := strings.CutPrefix(string(ref), markPrefix); ok {
				u.Stmts[i] = ruleset.FlowAdd{Op: "add", Flowtable: name}
			}
		}
	}
}
