package nft

import "strings"

// output is text in the making that remembers which line of which source each of its lines came from.
type output struct {
	b     strings.Builder
	lines []pos
	fresh bool // the next byte begins a line
}

// newOutput returns an empty output.
func newOutput() *output { return &output{fresh: true} }

// put writes a token as it is.
func (o *output) put(t token) {
	p := t.pos
	for part := range strings.Lines(t.text) {
		o.write(part, p)
		p.line++
	}
}

// puts writes tokens as they are.
func (o *output) puts(toks []token) {
	for _, t := range toks {
		o.put(t)
	}
}

// text writes text that belongs to one place, however many lines it has.
func (o *output) text(s string, p pos) {
	for part := range strings.Lines(s) {
		o.write(part, p)
	}
}

func (o *output) write(s string, p pos) {
	if o.fresh {
		o.lines = append(o.lines, p)
	}
	o.b.WriteString(s)
	o.fresh = strings.HasSuffix(s, "\n")
}

// append writes everything another output holds. It begins on the line that this one has reached.
func (o *output) append(other *output) {
	i := 0
	for part := range strings.Lines(other.b.String()) {
		o.write(part, other.lines[i])
		i++
	}
}
