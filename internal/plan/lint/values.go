package lint

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// maxElements is up to how many elements of a set or map the analysis looks at one by one.
const maxElements = 256

// literals are the members of what stands on the right of a match, as they are written.
func literals(e ruleset.Expr) []ruleset.Expr {
	switch e := e.(type) {
	case ruleset.List:
		return e
	case ruleset.SetLit:
		return e
	}
	return []ruleset.Expr{e}
}

// plain is an element without what is said about it, and of a pair the key.
func plain(e ruleset.Expr) ruleset.Expr {
	switch e := e.(type) {
	case ruleset.Elem:
		return plain(e.Val)
	case ruleset.Pair:
		return plain(e.Key)
	}
	return e
}

// values returns what a match compares with, one by one. It is not exact where it is not known now: a set that is empty
// or changes by itself.
func (a *analysis) values(t *ruleset.Table, e ruleset.Expr) (values []ruleset.Expr, exact bool) {
	ref, isRef := e.(ruleset.SetRef)
	if !isRef {
		members := literals(e)
		out := make([]ruleset.Expr, len(members))
		for i, m := range members {
			out[i] = plain(m)
		}
		return out, true
	}
	s := a.named(t, ref)
	if s == nil || changes(s) || len(s.Elems) == 0 {
		return nil, false
	}
	out := make([]ruleset.Expr, len(s.Elems))
	for i, m := range s.Elems {
		out[i] = plain(m)
	}
	return out, true
}

// changes reports whether elements come and go without anybody who loads a ruleset.
func changes(s *ruleset.Set) bool {
	return slices.Contains(s.Flags, "dynamic") || slices.Contains(s.Flags, "timeout") || s.Timeout != 0
}

func (a *analysis) named(t *ruleset.Table, ref ruleset.SetRef) *ruleset.Set {
	if t == nil {
		return nil
	}
	return a.sets[setKey{t, string(ref)}]
}

type setKey struct {
	table *ruleset.Table
	name  string
}

// entry is one thing that a verdict map may decide.
type entry struct {
	cover
	verdict ruleset.Verdict
}

// entries returns what a verdict map decides. A large map, and one whose keys are not understood, has one entry for each
// verdict in it.
func (a *analysis) entries(t *ruleset.Table, m ruleset.VMap) []entry {
	pairs := literals(m.Data)
	certain := true
	if ref, ok := m.Data.(ruleset.SetRef); ok {
		s := a.named(t, ref)
		if s == nil {
			return []entry{{unknown(), ruleset.Verdict{Kind: ruleset.Continue}}}
		}
		pairs, certain = s.Elems, !changes(s)
	}
	if len(pairs) > maxElements {
		return a.verdicts(m, pairs)
	}
	out := make([]entry, 0, len(pairs))
	for _, p := range pairs {
		pair, v, ok := verdictPair(p)
		if !ok {
			continue
		}
		c := a.element(m.Key, plain(pair.Key))
		if !certain {
			c.must = box{}
		}
		out = append(out, entry{c, v})
	}
	if !certain {
		out = append(out, entry{unknown(), ruleset.Verdict{Kind: ruleset.Accept}})
	}
	return out
}

// verdictPair reads an element of a verdict map.
func verdictPair(e ruleset.Expr) (ruleset.Pair, ruleset.Verdict, bool) {
	for {
		el, wrapped := e.(ruleset.Elem)
		if !wrapped {
			break
		}
		e = el.Val
	}
	pair, ok := e.(ruleset.Pair)
	if !ok {
		return ruleset.Pair{}, ruleset.Verdict{}, false
	}
	v, ok := plain(pair.Data).(ruleset.Verdict)
	return pair, v, ok
}

// verdicts returns one entry for each verdict of a large map. Its result is kept: many rules may use one map.
func (a *analysis) verdicts(m ruleset.VMap, pairs []ruleset.Expr) []entry {
	ref, isRef := m.Data.(ruleset.SetRef)
	if kept, ok := a.large[ref]; isRef && ok && kept.pairs == &pairs[0] {
		return kept.entries
	}
	seen := map[ruleset.Verdict]bool{}
	var out []entry
	for _, p := range pairs {
		_, v, ok := verdictPair(p)
		if ok && !seen[v] {
			seen[v] = true
			out = append(out, entry{unknown(), v})
		}
	}
	if isRef {
		a.large[ref] = largeMap{&pairs[0], out}
	}
	return out
}

// largeMap is the result of verdicts for a named map.
type largeMap struct {
	pairs   *ruleset.Expr
	entries []entry
}
