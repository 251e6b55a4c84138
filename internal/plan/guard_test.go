package plan

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// The kernel drops malformed packets of IP where an inet chain is at ingress, whatever its rules are.
func TestMalformedIPIsLeftToTheKernelBehindAnInetChainWithoutRulesThatRun(t *testing.T) {
	good := slices.Concat([]byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1}, make([]byte, 26))
	malformed := slices.Clone(good)
	malformed[14] = 0x55
	for name, rules := range map[string][]*ruleset.Rule{
		"no rules":               nil,
		"a rule without verdict": {{Family: ruleset.Inet, Table: "i", Chain: "in", Stmts: []ruleset.Stmt{destination("192.0.2.9")}}},
	} {
		t.Run(name, func(t *testing.T) {
			rs := oneChain(ruleset.Counter{}, ruleset.Fwd{Dev: ruleset.Str("eth1")})
			rs.Tables[0].Chains[0].Base.Priority = 10
			rs.Tables = append(rs.Tables, &ruleset.Table{Family: ruleset.Inet, Name: "i", Chains: []*ruleset.Chain{{
				Family: ruleset.Inet, Table: "i", Name: "in", Rules: rules,
				Base: &ruleset.Base{Type: "filter", Hook: "ingress", Policy: "accept", Devices: []string{"eth0"}},
			}}})
			s := Make(rs, pair(t, "ixgbe"), Options{NoHardware: true}).Shares()[0]
			for _, tt := range []struct {
				frame   []byte
				outcome eval.Outcome
				ends    bool
			}{{good, eval.Stolen, true}, {malformed, eval.Dropped, false}} {
				if got := eval.New(rs, map[string]uint32{"eth0": 2, "eth1": 3}).Run(addressed(tt.frame)); got.Outcome != tt.outcome {
					t.Fatalf("the kernel: %s, want %s", got.Outcome, tt.outcome)
				}
				f, ok := decode(tt.frame)
				if !ok {
					t.Fatal("frame not decoded")
				}
				if got, ok := f.execute(&s); ok != tt.ends || ok && got.ending != share.Forwards {
					t.Errorf("frame %x: ended early %v, want %v\n%s", tt.frame, ok, tt.ends, show(&s))
				}
			}
		})
	}
}

// A rule that is not what nft lists may match any packet and do anything.
func TestRulesBehindOneThatIsMisreadStayWithNFTables(t *testing.T) {
	rs := oneChain(destination("192.0.2.1"), ruleset.Verdict{Kind: ruleset.Drop})
	c := rs.Tables[0].Chains[0]
	misread := *c.Rules[0]
	misread.Stmts, misread.Misread = []ruleset.Stmt{destination("192.0.2.2"), ruleset.Counter{}}, "it is another one"
	last := *c.Rules[0]
	last.Stmts = []ruleset.Stmt{destination("192.0.2.3"), ruleset.Verdict{Kind: ruleset.Drop}}
	c.Rules = append(c.Rules, &misread, &last)
	s := Make(rs, pair(t, "ixgbe"), Options{NoHardware: true}).Shares()[0]
	if len(s.Entries) != 1 || s.Whole {
		t.Errorf("want the first rule alone, got\n%s", show(&s))
	}
	r := eval.New(rs, nil).Run(addressed(make([]byte, 60)))
	if r.Outcome == eval.Dropped || r.Outcome == eval.Accepted {
		t.Errorf("eval knows what the misread rule does: %s", r.Outcome)
	}
}
