package bpfgen

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// A segment is a run of entries of which a packet meets at most one: each ends the packet or leaves to behind the
// segment, and none is gone to from elsewhere. So their order matters only for a packet that several match, and it is
// enough to find the first of these. Entries that look at the same fields are one lookup, wherever they stand in it.

// Limits of what is merged.
const (
	least        = 4       // entries that a lookup is worth while for
	mostLinear   = 128     // entries of a segment that are compared one by one
	mostKeys     = 4096    // keys that one entry may be in a table
	mostElements = 1 << 19 // keys of a table
)

// segment is the entries from first up to end.
type segment struct{ first, end int }

// segments divides the entries into runs; those that cannot be in a segment are alone.
func segments(s *share.Share) []segment {
	goals := map[int]bool{}
	for i := range s.Entries {
		switch e := &s.Entries[i]; e.Ending {
		case share.Leaves:
			goals[e.To] = true
		case share.Maps:
			goals[e.AcceptTo], goals[e.ReturnTo] = true, true
		default:
		}
	}
	var out []segment
	for i := 0; i < len(s.Entries); {
		end := i + 1
		for decides(&s.Entries[i]) && end < len(s.Entries) && decides(&s.Entries[end]) && !goals[end] {
			end++
		}
		out = append(out, segment{i, end})
		i = end
	}
	return out
}

// decides reports whether a packet that an entry matches meets none of the entries behind it, up to the next goal.
func decides(e *share.Entry) bool {
	return e.Copy == "" && (e.Ending == share.Drops || e.Ending == share.Forwards || e.Ending == share.Leaves)
}

// member is what a segment's search does at once: a lookup for several entries, or one entry.
type member struct {
	entries []int // in order
	shape   shape // of a lookup
	table   *table
	guards  []share.Cond
	fields  []share.Field
}

// shape is what an entry compares, without the values: conditions in the order of their fields.
type shape struct {
	id    string
	conds []share.Cond
	keys  int
}

// shapeOf is the shape of an entry whose conditions are all comparisons with a few keys; false for others.
func shapeOf(e *share.Entry) (shape, bool) {
	x := shape{keys: 1}
	ids := make([]string, len(e.Conds))
	order := make([]int, len(e.Conds))
	for i, c := range e.Conds {
		if c.Not || c.Named || len(c.Keys) == 0 {
			return x, false
		}
		if x.keys *= len(c.Keys); x.keys > mostKeys {
			return x, false
		}
		ids[i], order[i] = fieldsID(c.Fields), i
	}
	slices.SortFunc(order, func(a, b int) int { return compareStrings(ids[a], ids[b]) })
	for i, at := range order {
		if i > 0 && ids[at] == ids[order[i-1]] {
			return x, false
		}
		x.id += ids[at] + "|"
		x.conds = append(x.conds, e.Conds[at])
	}
	return x, len(x.conds) > 0
}

// members divides a segment's entries into lookups and single ones, in the order of their first entries.
func (g *generator) members(s segment) []member {
	groups := map[string]*member{}
	var order []string
	var out []member
	for i := s.first; i < s.end; i++ {
		x, ok := shapeOf(&g.share.Entries[i])
		if !ok {
			out = append(out, member{entries: []int{i}})
			continue
		}
		m := groups[x.id]
		if m == nil {
			m = &member{shape: x}
			groups[x.id] = m
			order = append(order, x.id)
		}
		m.entries = append(m.entries, i)
	}
	for _, id := range order {
		m := groups[id]
		if len(m.entries) < least || !g.tabulate(m, s.first) {
			for _, i := range m.entries {
				out = append(out, member{entries: []int{i}})
			}
			continue
		}
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b member) int { return a.entries[0] - b.entries[0] })
	return out
}

// tabulate makes the table of a group of entries: of the conditions in which they differ. What all of them want is
// asked before.
func (g *generator) tabulate(m *member, first int) bool {
	all := make([]shape, len(m.entries))
	for i, at := range m.entries {
		all[i], _ = shapeOf(&g.share.Entries[at])
	}
	var varied []int
	for c := range m.shape.conds {
		same := !slices.ContainsFunc(all, func(x shape) bool { return !sameKeys(x.conds[c].Keys, m.shape.conds[c].Keys) })
		if same {
			m.guards = append(m.guards, m.shape.conds[c])
			continue
		}
		varied = append(varied, c)
		m.fields = append(m.fields, m.shape.conds[c].Fields...)
	}
	if len(varied) == 0 {
		return false // the first one matches or none
	}
	sortGuards(m.guards)
	var es []element
	for i, x := range all {
		keys := []share.Key{nil}
		for _, c := range varied {
			keys = product(keys, x.conds[c].Keys)
		}
		if len(es)+len(keys) > mostElements {
			return false
		}
		for _, k := range keys {
			es = append(es, element{Key: k, Data: uint32(m.entries[i] - first)})
		}
	}
	t, err := g.maps.table(g.maps.tableName(), bitsOf(m.fields), es)
	if err != nil {
		return false // combinations of prefixes that do not fit into one: compared one by one
	}
	m.table = &t
	return true
}

// product is each key followed by each of some others.
func product(keys, more []share.Key) []share.Key {
	out := make([]share.Key, 0, len(keys)*len(more))
	for _, k := range keys {
		for _, l := range more {
			out = append(out, slices.Concat(k, l))
		}
	}
	return out
}

func sameKeys(a, b []share.Key) bool {
	return slices.EqualFunc(a, b, func(k, l share.Key) bool { return slices.Equal(k, l) })
}
