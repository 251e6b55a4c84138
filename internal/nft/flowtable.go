package nft

import (
	"fmt"
	"slices"
	"strings"
)

// defineDepth bounds variables that refer to variables.
const defineDepth = 16

// block is a flowtable block of the text.
type block struct {
	table   Flowtable
	body    []token // between its braces
	devices [2]int  // the `devices = ...` statement in body, from..to; empty where there is none
	flags   [2]int  // the `flags ...` statement
	raw     string  // the value of devices as written, where it has a variable that is not known; else ""
}

// parseBlock reads what is between the braces of a flowtable block.
func parseBlock(t Flowtable, body []token, vars map[string][]token, d devices) (block, error) {
	b := block{table: t, body: body}
	for from := 0; from < len(body); {
		to := from + statementLen(body[from:])
		ws := words(body[from:to])
		if len(ws) > 0 {
			if err := b.statement(ws, [2]int{from, to}, vars, d); err != nil {
				return block{}, err
			}
		}
		from = to + 1 // behind the separator
	}
	slices.Sort(b.table.Flags)
	return b, nil
}

// statement reads one statement of a flowtable block.
func (b *block) statement(ws []token, at [2]int, vars map[string][]token, d devices) error {
	switch {
	case ws[0].is("hook") && len(ws) >= 4 && ws[2].is("priority"):
		b.table.Hook = ws[1].text
		var prio []string
		for _, w := range ws[3:] {
			prio = append(prio, w.text)
		}
		b.table.Priority = strings.Join(prio, "")
	case ws[0].is("counter") && len(ws) == 1:
		b.table.Flags = append(b.table.Flags, "counter")
	case ws[0].is("flags") && len(ws) >= 2:
		b.flags = at
		for _, w := range ws[1:] {
			if !w.is(",") {
				b.table.Flags = append(b.table.Flags, w.text)
			}
		}
	case ws[0].is("devices") && len(ws) >= 3 && ws[1].is("="):
		b.devices = at
		names, known := deviceNames(ws[2:], vars, 0)
		if !known {
			b.raw = oneLine(body(b.body, at, "="))
			return nil
		}
		for _, n := range names {
			b.table.list(n, d)
		}
	default:
		return &SourceError{Line: ws[0].pos.line, Err: fmt.Errorf("flowtable %s: unknown statement %q", b.table.Name, ws[0].text)}
	}
	return nil
}

// body returns the tokens of a statement behind the first token that is sep.
func body(toks []token, at [2]int, sep string) []token {
	for i := at[0]; i < at[1]; i++ {
		if toks[i].is(sep) {
			return toks[i+1 : at[1]]
		}
	}
	return nil
}

// deviceNames resolves the value of `devices =`: names, lists of them, variables. known is false where a variable is
// not defined in the text.
func deviceNames(ws []token, vars map[string][]token, depth int) (names []string, known bool) {
	if depth > defineDepth {
		return nil, false
	}
	for i := 0; i < len(ws); i++ {
		switch w := ws[i]; {
		case w.is("{"), w.is("}"), w.is(","):
		case w.is("$"):
			i++
			if i >= len(ws) {
				return nil, false
			}
			value, ok := vars[ws[i].text]
			if !ok {
				return nil, false
			}
			more, ok := deviceNames(value, vars, depth+1)
			if !ok {
				return nil, false
			}
			names = append(names, more...)
		case w.kind == tokenString:
			names = append(names, strings.Trim(w.text, `"`))
		case w.kind == tokenWord:
			names = append(names, w.text)
		default:
			return nil, false
		}
	}
	return names, true
}

// statementLen is the number of tokens up to the separator that ends the statement, or up to the brace that closes
// the block it is in. Separators inside braces do not end it.
func statementLen(toks []token) int {
	depth := 0
	for i, t := range toks {
		switch {
		case t.is("{"):
			depth++
		case t.is("}"):
			if depth == 0 {
				return i
			}
			depth--
		case depth == 0 && t.ends():
			return i
		}
	}
	return len(toks)
}

// setBody renders the inside of the set that stands for the flowtable.
func (b block) setBody() string {
	s := "type ifname\n"
	if b.table.patterned() {
		s += "\t\tflags interval\n"
	}
	s += "\t\tcomment \"" + b.table.comment() + "\"\n"
	switch {
	case b.raw != "":
		s += "\t\telements = " + b.raw + "\n"
	case len(b.table.elements()) > 0:
		s += "\t\telements = { " + quoted(b.table.elements()) + " }\n"
	}
	return "{\n\t\t" + s + "\t}"
}

// kept renders the inside of the block without missing devices and patterns and, where asked, without the offload flag.
// ok is false when nothing has to change.
func (b block) kept(dropOffload bool) (text string, ok bool) {
	dropOffload = dropOffload && b.table.has("offload")
	if b.table.asWritten() && !dropOffload {
		return "", false
	}
	var s strings.Builder
	for i := 0; i < len(b.body); i++ {
		switch {
		case i == b.devices[0] && b.devices[1] > 0 && !b.table.asWritten():
			if len(b.table.Devices) > 0 {
				s.WriteString(" devices = { " + quoted(b.table.Devices) + " }")
			}
			i = b.devices[1] - 1
		case i == b.flags[0] && b.flags[1] > 0 && dropOffload:
			i = b.flags[1] - 1
		case b.body[i].kind == tokenComment:
		default:
			s.WriteString(b.body[i].text)
		}
	}
	return s.String(), true
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }
