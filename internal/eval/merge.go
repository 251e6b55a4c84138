package eval

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// nft joins matches of adjacent header fields into one load and one comparison. For == that changes nothing. Before
// version 1.1.0 it did the same with !=, which then asks for any of the fields to differ, not for all of them:
// `tcp sport != 22 tcp dport != 23` matches a packet from port 22 to port 80. The listing shows what was written.

// joinsUnequal reports whether the nft that listed the ruleset is one of those. Who loaded it is taken to be the same.
func joinsUnequal(rs *ruleset.Ruleset) bool {
	var about struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(rs.Meta, &about) != nil {
		return false
	}
	major, rest, _ := strings.Cut(about.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a < 1 || a == 1 && b < 1)
}

// unequal is a match with != of a whole field and one value.
type unequal struct {
	at    int // statement
	match ruleset.Match
	field field
}

// joined finds the matches that become one: the members by the last one's statement. The order of matches between two
// other statements does not count.
func joined(stmts []ruleset.Stmt) map[int][]unequal {
	out := map[int][]unequal{}
	var run []unequal
	for i, s := range stmts {
		m, ok := s.(ruleset.Match)
		if !ok {
			join(run, out)
			run = nil
			continue
		}
		if u, ok := unequalOf(i, m); ok {
			run = append(run, u)
		}
	}
	join(run, out)
	return out
}

func unequalOf(i int, m ruleset.Match) (unequal, bool) {
	p, ok := m.Left.(ruleset.Payload)
	if !ok || m.Op != "!=" {
		return unequal{}, false
	}
	switch m.Right.(type) {
	case ruleset.Str, ruleset.Num, ruleset.Binary, ruleset.List:
	default:
		return unequal{}, false
	}
	fd, ok := fields(p.Proto)[p.Field]
	return unequal{i, m, fd}, ok && fd.offset%8 == 0 && fd.typ.bits%8 == 0
}

func join(run []unequal, out map[int][]unequal) {
	slices.SortFunc(run, func(a, b unequal) int {
		return cmp.Or(cmp.Compare(a.field.base, b.field.base), cmp.Compare(a.field.offset, b.field.offset))
	})
	for len(run) > 0 {
		n, bits := 1, run[0].field.typ.bits
		for n < len(run) && joins(run[n-1].field, bits, run[n].field) {
			bits += run[n].field.typ.bits
			n++
		}
		if n > 1 {
			last := slices.MaxFunc(run[:n], func(a, b unequal) int { return cmp.Compare(a.at, b.at) })
			out[last.at] = run[:n]
		}
		run = run[n:]
	}
}

// joins reports whether a field joins fields of so many bits, the last of which is given (payload_can_merge of nft).
func joins(last field, bits int, next field) bool {
	const word, register = 32, 128
	total := bits + next.typ.bits
	return last.base == next.base && last.offset+last.typ.bits == next.offset && total <= register &&
		(last.base == "ll" || total <= word || bits > word || next.typ.bits > word)
}

// joinedMatch compiles matches that became one: one of the fields differs.
func (c *compiler) joinedMatch(members []unequal) error {
	var tests []func(*run) (bool, status)
	for _, u := range members {
		left, err := c.expression(u.match.Left, dtype{})
		if err != nil {
			return err
		}
		t, err := c.comparison(u.match, left)
		if err != nil {
			return err
		}
		tests = append(tests, func(r *run) (bool, status) {
			v, st := left.load(r)
			if st != known {
				return false, st
			}
			return t(r, v)
		})
	}
	c.emit(func(r *run) status {
		differs := false
		for _, t := range tests {
			ok, st := t(r)
			if st != known {
				return st
			}
			differs = differs || ok
		}
		if !differs {
			return broke
		}
		return known
	})
	return nil
}
