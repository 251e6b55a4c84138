package nft

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// LowerOptions says how Lower rewrites a ruleset. The zero value lowers with labels from 127 downward.
type LowerOptions struct {
	// Mark is one bit of the conntrack mark to use in place of labels; 0 means labels.
	Mark uint32
	// Used are labels that must not be given out: those of the live ruleset and of connections. Labels that the text
	// itself uses are found by Lower.
	Used handover.Labels
	// Exists reports whether a device exists; the report names those that do not. Nil: all exist.
	Exists func(device string) bool
}

// Lower rewrites a ruleset, in nft's language or its JSON, for a kernel without flowtables: flowtables become sets of
// device names and `flow add` becomes a conntrack label (or mark bit); generate.go shows the form. A ruleset with
// neither comes back as it is. Included files are put in place; nothing is checked that nft will check.
// Errors that are about a place in the text are a *SourceError.
func Lower(src Source, o LowerOptions) (string, Report, error) {
	p, err := rewrite(src, edit{lower: true, mark: o.Mark, used: o.Used, devices: devices{exists: o.Exists}})
	if err != nil {
		return "", Report{}, fmt.Errorf("lower ruleset: %w", err)
	}
	return p.text, p.report, nil
}

// edit says what to change in a ruleset.
type edit struct {
	lower     bool            // rewrite flowtables and `flow add`; else only devices and flags
	mark      uint32          // see LowerOptions
	used      handover.Labels // see LowerOptions
	devices   devices
	noOffload map[key]string  // flowtables that lose `flags offload`, and why
	labels    func(i int) int // the i-th label to give out; nil while they are counted
	taken     handover.Labels // the labels that mean "taken", of all rules of the text; known in the second pass
}

// program is a rewritten ruleset.
type program struct {
	text    string
	changed bool // text is not the source's text
	flushes bool // the ruleset begins from nothing
	where   place
	report  Report
}

// rewrite edits a ruleset. It makes two passes: the first counts the labels that the second one uses.
func rewrite(src Source, e edit) (program, error) {
	if e.mark != 0 && bits.OnesCount32(e.mark) != 1 {
		return program{}, &MarkError{Bit: e.mark, Reason: "exactly one bit is needed"}
	}
	var one func(edit) (program, labels, error)
	var inText handover.Labels
	if src.json() {
		doc, err := parseJSON(src)
		if err != nil {
			return program{}, err
		}
		inText = doc.labels()
		one = doc.rewrite
	} else {
		x := &expander{dir: src.Dir}
		toks, err := x.expand(src.Name, src.Text, 0)
		if err != nil {
			return program{}, err
		}
		inText = textLabels(toks)
		one = func(e edit) (program, labels, error) { return rewriteText(src, toks, x.files, e) }
	}
	_, count, err := one(e)
	if err != nil {
		return program{}, err
	}
	free := freeLabels(e.used.Union(inText), count.n)
	if len(free) < count.n {
		return program{}, &UnsupportedError{fmt.Sprintf("%d conntrack labels are needed and %d of %d are free", count.n, len(free), handover.LabelBits)}
	}
	e.labels = func(i int) int { return free[i] }
	for _, i := range count.taken {
		e.taken.Add(free[i])
	}
	p, _, err := one(e)
	if err != nil {
		return program{}, err
	}
	p.report.Deviations = deviations(p.report, e.mark, p.report.Rules > 1)
	return p, nil
}

// labels counts the labels that a rewritten ruleset uses, and which of them mean that a flow is taken.
type labels struct {
	n     int
	taken []int // indexes below n
}

// next gives out a label.
func (l *labels) next(e edit, taken bool) int {
	i := l.n
	l.n++
	if taken {
		l.taken = append(l.taken, i)
	}
	if e.labels == nil {
		return handover.LabelBits - 1 // the first pass only counts
	}
	return e.labels(i)
}

// marker gives out what marks the flows of one `flow add` rule.
func (l *labels) marker(e edit) marker {
	if e.mark != 0 {
		return marker{mark: e.mark}
	}
	return marker{label: l.next(e, true)}
}

// freeLabels returns at most n labels that are not used, highest first: people who number labels begin with 0.
func freeLabels(used handover.Labels, n int) []int {
	var out []int
	for l := handover.LabelBits - 1; l >= 0 && len(out) < n; l-- {
		if !used.Has(l) {
			out = append(out, l)
		}
	}
	return out
}

// textLabels returns the labels a text may use: where it mentions labels at all, every small number in it.
func textLabels(toks []token) handover.Labels {
	var used handover.Labels
	ws := words(toks)
	mentions := slices.ContainsFunc(ws, func(t token) bool { return t.is("label") || t.is("labels") })
	for _, w := range ws {
		if n, err := strconv.ParseUint(w.text, 0, 7); err == nil && mentions {
			used.Add(int(n))
		}
	}
	return used
}

// leaves reports whether statements behind `flow add` may hold a verdict that depends on the chain it is in.
func leaves(rest []token) bool {
	return slices.ContainsFunc(rest, func(t token) bool { return t.is("return") || t.is("goto") || t.is("vmap") })
}

// family reports whether a word is an address family of nft.
func isFamily(s string) bool {
	switch s {
	case "ip", "ip6", "inet", "arp", "bridge", "netdev":
		return true
	}
	return false
}

// checkFamily refuses flowtables where the kernel has none.
func checkFamily(family string) error {
	switch family {
	case "ip", "ip6", "inet":
		return nil
	}
	return fmt.Errorf("family %s has no flowtables, only ip, ip6 and inet have", family)
}
