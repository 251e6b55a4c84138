package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// flowStatement returns the index of the `flow` in `flow add @f` or `flow offload @f`, and how many braces are open
// there; -1 where there is none.
func flowStatement(stmt []token) (i, depth int) {
	for i, t := range stmt {
		switch {
		case t.is("{"):
			depth++
		case t.is("}"):
			depth--
		case t.is("flow"):
			ws := words(stmt[i:min(len(stmt), i+8)]) // four words, blanks between them
			if len(ws) >= 4 && (ws[1].is("add") || ws[1].is("offload")) && ws[2].is("@") {
				return i, depth
			}
		}
	}
	return -1, 0
}

// flowAdd writes the rules that a rule with `flow add` becomes.
func (w *textRewriter) flowAdd(s *scope, stmt []token, i int) error {
	w.rules++
	if !w.lower {
		w.copy(stmt)
		return nil
	}
	r, err := w.parseRule(s, stmt, i)
	if err != nil {
		return w.fail(stmt[i].pos, err)
	}
	w.changed = true
	w.emit(s, r)
	w.at += len(stmt)
	return nil
}

// flowRule is a rule with `flow add` in its parts.
type flowRule struct {
	at            pos
	family, table string
	command       string  // "insert rule inet t c", for a rule outside blocks; else ""
	backwards     bool    // rules added with this command end up in the opposite order
	lead          []token // blanks
	match         []token
	flowtable     string
	rest          []token
}

func (w *textRewriter) parseRule(s *scope, stmt []token, i int) (flowRule, error) {
	r := flowRule{at: stmt[i].pos, family: s.family, table: s.table, lead: leading(stmt)}
	name := i
	for range 3 { // from `flow` over `add` and `@` to the name
		name += 1 + blanks(stmt[name+1:])
	}
	r.flowtable = stmt[name].text
	r.rest = stmt[name+1:]
	r.match = stmt[len(r.lead):i]
	if s.kind == scopeTop {
		if err := r.parseCommand(stmt[:i]); err != nil {
			return flowRule{}, err
		}
	}
	if s.hook != "" && s.hook != "forward" {
		return flowRule{}, fmt.Errorf("`flow add` works in chains of the forward hook, not %s", s.hook)
	}
	if i, _ := flowStatement(r.rest); i >= 0 {
		return flowRule{}, &UnsupportedError{"two `flow add` in one rule: the second one never takes a flow"}
	}
	if w.mark != 0 && leaves(r.rest) {
		return flowRule{}, &UnsupportedError{"a mark and a return, goto or vmap behind `flow add`: that takes a second bit"}
	}
	return r, checkFamily(r.family)
}

// parseCommand reads "add rule inet t c position 3" and leaves the match behind it.
func (r *flowRule) parseCommand(toks []token) error {
	ws := words(toks)
	used := 0
	take := func(ok func(string) bool) string {
		if used < len(ws) && ok(ws[used].text) {
			used++
			return ws[used-1].text
		}
		return ""
	}
	in := func(list ...string) func(string) bool {
		return func(s string) bool { return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ") }
	}
	anything := func(string) bool { return true }
	verb := take(in("add", "insert", "replace", "create"))
	take(in("rule"))
	r.family = take(isFamily)
	if r.family == "" {
		r.family = "ip"
	}
	r.table = take(anything)
	chain := take(anything)
	if chain == "" {
		return errors.New("`flow add` in a command without a table and a chain")
	}
	locator := take(in("handle", "position", "index"))
	number := ""
	if locator != "" {
		number = take(anything)
	}
	switch verb {
	case "replace":
		return &UnsupportedError{"`replace rule` with `flow add`: one rule becomes several"}
	case "":
		verb = "add"
	}
	r.command = strings.Join(strings.Fields(fmt.Sprintf("%s rule %s %s %s %s %s", verb, r.family, r.table, chain, locator, number)), " ")
	// `add ... handle N` puts each rule right behind N, plain `insert` and anything with an index right in front.
	r.backwards = verb == "add" && locator != "" || verb == "insert" && locator == "" || locator == "index"
	left := used
	for left > 0 && len(toks) > 0 {
		if !toks[0].blank() && toks[0].kind != tokenNewline {
			left--
		}
		toks = toks[1:]
	}
	r.match = toks[blanks(toks):]
	return nil
}

// emit writes the rules and chains that a rule becomes.
func (w *textRewriter) emit(s *scope, r flowRule) {
	m := w.count.marker(w.edit)
	k := key{r.family, r.table, r.flowtable}
	if w.ties[k] == nil {
		w.ties[k] = &tie{}
	}
	w.ties[k].add(m)
	rest := oneLine(r.rest)
	chain := m.chain(oneLine(r.match) + " flow add " + rest)
	rules := []string{passRule(r.flowtable, m), strings.TrimRight(raw(r.match), " \t\r") + " jump " + chain}
	rules[1] = strings.TrimLeft(rules[1], " ")
	inside := rest
	if leaves(r.rest) {
		inside = ""
		rules = append(rules, restRule(m, w.count.next(w.edit, false), rest))
	}
	taken := takenMatch(w.taken, m)
	w.chain(s, r, chain, addRules(r.family, taken, m, inside))
	if t := (key{r.family, r.table, ""}); !w.passes[t] {
		w.passes[t] = true
		w.chain(s, r, handover.PassChain, passRules(r.family))
	}
	if r.backwards {
		slices.Reverse(rules)
	}
	for i, rule := range rules {
		if i > 0 {
			w.out.text("\n", r.at)
		}
		w.out.text(raw(r.lead), r.at)
		if r.command != "" {
			rule = r.command + " " + rule
		}
		w.out.text(rule, r.at)
	}
}

// chain writes a chain in front of a command, or keeps it for the end of the block that the rule is in.
func (w *textRewriter) chain(s *scope, r flowRule, name string, rules []string) {
	keep, head := s, fmt.Sprintf("add chain %s %s %s", r.family, r.table, name)
	if s.outer != nil {
		keep, head = s.outer, "chain "+name
	}
	if s.kind == scopeTop {
		w.out.text(chainBlock(head, rules), r.at)
		return
	}
	keep.tail = append(keep.tail, chainBlock(head, rules))
	keep.tailPos = append(keep.tailPos, r.at)
}
