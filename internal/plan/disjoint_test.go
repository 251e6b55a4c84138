package plan

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestDisjointRulesShareNoPacket asks package eval about pairs of rules: no packet may match two that are disjoint, none
// may match a rule whose space is empty, and those of a rule that is covered must match the one that covers it.
func TestDisjointRulesShareNoPacket(t *testing.T) {
	const rulesets, rules, packets = 1500, 8, 60
	t.Logf("seed %d", *seed)
	disjoint, covered, apart, pairs := 0, 0, 0, 0
	for i := range uint64(rulesets) {
		r := newRandom(*seed<<32 + i)
		rs := r.ruleset(0, false)
		c := rs.Tables[0].Chains[0]
		for n := range rules {
			rule := &ruleset.Rule{Family: c.Family, Table: c.Table, Chain: c.Name, Index: n}
			for range 1 + r.IntN(3) {
				rule.Stmts = append(rule.Stmts, r.match([]string{"s0", "s1"}))
			}
			c.Rules = append(c.Rules, rule)
		}
		spaces := spacesOf(rs)
		ev := eval.New(rs, map[string]uint32{"eth0": 2})
		var met [rules][rules]bool
		for range packets {
			frame, _ := r.packet()
			hit := matching(ev, c, frame)
			for a := range rules {
				for b := range rules {
					met[a][b] = met[a][b] || hit[a] && hit[b]
					if hit[a] && hit[b] && space.Disjoint(spaces[a], spaces[b]) {
						t.Fatalf("seed %d ruleset %d: rules are disjoint and both match frame %x:\n%s\n%s", *seed, i, frame, c.Rules[a], c.Rules[b])
					}
					if hit[b] && !hit[a] && space.Covers(spaces[a], spaces[b]) {
						t.Fatalf("seed %d ruleset %d: the first rule covers the second, which alone matches frame %x:\n%s\n%s", *seed, i, frame, c.Rules[a], c.Rules[b])
					}
				}
			}
		}
		for a := range rules {
			for b := range a {
				pairs++
				apart += count(!met[a][b])
				disjoint += count(space.Disjoint(spaces[a], spaces[b]))
				covered += count(space.Covers(spaces[a], spaces[b]) || space.Covers(spaces[b], spaces[a]))
			}
		}
	}
	t.Logf("%d pairs of rules, %d never matched the same of %d packets, %d are disjoint, of %d one covers the other", pairs, apart, packets, disjoint, covered)
	if disjoint < apart/4 || covered == 0 {
		t.Error("too few: the test proves little")
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// spacesOf is what each rule of the first chain can match.
func spacesOf(rs *ruleset.Ruleset) []space.Space {
	reader := space.NewReader(rs, false)
	var out []space.Space
	for _, r := range rs.Tables[0].Chains[0].Rules {
		s := reader.Start(rs.Tables[0])
		for _, m := range slices.Concat(runs(r)...) {
			s = s.Match(m)
		}
		out = append(out, s.Space)
	}
	return out
}

// matching says which rules of a chain of matches match a frame.
func matching(ev *eval.Evaluator, c *ruleset.Chain, frame []byte) []bool {
	out := make([]bool, len(c.Rules))
	for _, s := range ev.Run(ingress(frame)).Steps {
		out[s.Rule.Index] = s.Matched
	}
	return out
}
