package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// lookup is one step of the generated program: rules of one shape in a row are one lookup, however many they are.
type lookup struct {
	shape   string // what is read, and how it is compared
	kind    string // of the map
	keys    int
	rules   []*entry
	verdict string // empty: the map says
}

// BPF renders what the program at XDP looks at, in order.
func (p *Plan) BPF() string {
	w := &writer{}
	for _, s := range p.judged {
		if s.on.tier == Software {
			continue
		}
		ls := s.lookups()
		if len(ls) == 0 {
			continue
		}
		w.line(fmt.Sprintf("# %s: %s", strings.Join(s.devices, " "), s.on.hookName()))
		for i, l := range ls {
			l.write(w, i+1)
		}
		w.line("else: on to the flow table, then to the kernel")
	}
	if w.b.Len() == 0 {
		w.line("# no rule runs at XDP or tc")
	}
	return w.b.String()
}

// lookups are the steps of the program of a share.
func (j *judged) lookups() []lookup {
	var out []lookup
	if !slices.ContainsFunc(j.entries, func(e *entry) bool { return e.tier() == j.on.tier }) {
		return nil
	}
	for _, e := range j.entries {
		// Rules in hardware are here, too: what it accepts comes here, and what it misses (sound.go).
		if !e.early.None() || e.effect.none() {
			continue
		}
		l := lookupOf(e)
		if n := len(out); n > 0 && out[n-1].joins(l) {
			out[n-1].keys += l.keys
			out[n-1].rules = append(out[n-1].rules, e)
			if out[n-1].verdict != l.verdict {
				out[n-1].verdict = ""
			}
			continue
		}
		out = append(out, l)
	}
	return out
}

// joins reports whether the rule of another lookup can be another key of this one. Of equal keys the first one is kept,
// so a hash may hold different verdicts; with prefixes and ranges, which overlap, all rules must decide the same.
func (l lookup) joins(m lookup) bool {
	if l.shape != m.shape || l.kind != m.kind || l.kind == kindNone || l.kind == kindSet {
		return false
	}
	if l.kind == kindHash {
		return true
	}
	last := l.rules[len(l.rules)-1].effect
	return last.commutes(m.rules[0].effect)
}

// Kinds of maps.
const (
	kindNone   = ""
	kindHash   = "hash"
	kindPrefix = "longest prefix"
	kindRanges = "sorted ranges"
	kindSet    = "map of set"
)

// lookupOf is the lookup of one entry.
func lookupOf(e *entry) lookup {
	l := lookup{rules: []*entry{e}, keys: 1, verdict: e.does(), kind: kindHash}
	var shape []string
	inexact := 0
	for _, step := range e.steps {
		for _, m := range step {
			part, kind, keys := compares(m)
			shape = append(shape, part)
			l.keys *= max(keys, 1)
			l.kind = widest(l.kind, kind)
			if kind != kindHash {
				inexact++
			}
		}
	}
	l.shape = strings.Join(shape, ", ")
	if inexact > 1 {
		l.kind = kindNone // no map has two fields of prefixes or ranges
	}
	if l.kind == kindNone {
		l.shape = conditions(e)
	}
	if len(shape) == 0 {
		l.shape, l.kind = "every packet", kindNone
	}
	return l
}

// conditions are the matches of an entry as they are written.
func conditions(e *entry) string {
	var out []string
	for _, step := range e.steps {
		for _, m := range step {
			out = append(out, m.String())
		}
	}
	return strings.Join(out, ", ")
}

// widest is the kind of map that can hold the keys of two kinds.
func widest(a, b string) string {
	order := []string{kindHash, kindPrefix, kindRanges, kindSet, kindNone}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// compares is what a match reads, the kind of map that its values need, and how many keys they are.
func compares(m ruleset.Match) (what, kind string, keys int) {
	left := fmt.Sprint(m.Left)
	if m.Op != "==" {
		return fmt.Sprintf("%s %s %v", left, m.Op, m.Right), kindNone, 1
	}
	switch r := m.Right.(type) {
	case ruleset.SetRef:
		return fmt.Sprintf("%s @%s", left, string(r)), kindSet, 1
	case ruleset.SetLit:
		kind := kindHash
		for _, e := range r {
			kind = widest(kind, kindOf(space.KeyOf(e)))
		}
		return left, kind, len(r)
	}
	if k := kindOf(m.Right); k != kindNone {
		return left, k, 1
	}
	return fmt.Sprintf("%s == %v", left, m.Right), kindNone, 1
}

func kindOf(e ruleset.Expr) string {
	switch e := e.(type) {
	case ruleset.Str, ruleset.Num:
		return kindHash
	case ruleset.Prefix:
		return kindPrefix
	case ruleset.Range:
		return kindRanges
	case ruleset.Concat:
		kind := kindHash
		for _, part := range e {
			if kindOf(part) != kindHash {
				kind = kindRanges
			}
		}
		return kind
	}
	return kindNone
}

// does is what an entry does with a packet.
func (e *entry) does() string {
	s := map[ending]string{
		goesOn: "goes on", accepts: "leave to the kernel", leaves: "leave the chain", drops: "drop",
		forwards: "send out of " + e.effect.device, unknown: "leave to the kernel",
		decides: "what the map says",
	}[e.effect.ending]
	if e.effect.counter {
		s = "count, " + s
	}
	return s
}

func (l lookup) write(w *writer, n int) {
	verdict := l.verdict
	if verdict == "" {
		verdict = "what the map says"
	}
	what := l.shape
	switch l.kind {
	case kindNone:
	case kindSet:
		what += ": the set's own map, kept up to date"
	default:
		unit := "keys"
		if l.keys == 1 {
			unit = "key"
		}
		what += fmt.Sprintf(": %s, %d %s", l.kind, l.keys, unit)
	}
	w.wrap(fmt.Sprintf("%3d. ", n), fmt.Sprintf("%s -> %s", what, verdict))
	w.wrap("     ", l.handles())
}

// handles names the rules of a lookup.
func (l lookup) handles() string {
	const shown = 8
	var parts []string
	for _, e := range l.rules[:min(len(l.rules), shown)] {
		parts = append(parts, strings.TrimPrefix(e.ref().String(), string(e.chain.Family)+" "))
	}
	s := strings.Join(parts, ", ")
	if n := len(l.rules) - shown; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
