package rules

import (
	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// fewOf is the part of a set that is looked at interval by interval. That takes ten times as long for each as to go
// through all of the set, and as much memory.
const fewOf = 10

// many reports whether a change is so large that it is better to work out the whole set.
func (c *Contents) many(change element.Change) bool {
	n := change.Deleted.Len() + change.Added.Len()
	have, _ := c.store.all()
	return n > atOnce && n > have/fewOf
}

// applyMany makes a list of all that the set has behind a change.
func (c *Contents) applyMany(change element.Change) error {
	next := c.points().Merge(&change.Deleted, &change.Added).Join()
	before, last := next.Unended()
	if before || last && c.loose {
		return ErrReread // see near.join
	}
	loose := c.loose
	err := c.replace(next)
	c.loose = c.loose || loose
	return err
}

// points are the set as the kernel tells of it.
func (c *Contents) points() *element.List {
	var l element.List
	part := c.set.Parts[0]
	_, entries := c.store.all()
	for e := range entries {
		l.Add(element.Element{First: element.Key(part, e.first), Verdict: c.verdict(e.data), Expires: e.expires})
		if end := element.Above(element.Key(part, e.last)); end != nil && !c.highest(e.last) {
			l.Add(element.Element{First: end, End: true})
		}
	}
	return &l
}

// verdict is what an element has in the kernel that has such data in the map.
func (c *Contents) verdict(data uint32) ruleset.VerdictKind {
	if !c.set.Verdicts {
		return ""
	}
	for _, v := range []ruleset.VerdictKind{ruleset.Accept, ruleset.Drop, ruleset.Return, ruleset.Continue} {
		if d, ok := bpfgen.VerdictData(v); ok && d == data {
			return v
		}
	}
	return ""
}
