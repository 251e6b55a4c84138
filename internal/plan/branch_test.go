package plan

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Of elements that cross, the kernel takes the one that was there first, which no list of them tells.
func TestMapsOfConcatenationsRunEarlyOnlyWhereNoElementsCross(t *testing.T) {
	key := ruleset.Concat{ruleset.Payload{Proto: "ip", Field: "saddr"}, ruleset.Payload{Proto: "ip", Field: "daddr"}}
	network := func(a string) ruleset.Expr { return ruleset.Prefix{Addr: ruleset.Str(a), Len: 24} }
	one := func(src, dst ruleset.Expr, data ruleset.Expr) ruleset.Expr {
		return ruleset.Pair{Key: ruleset.Concat{src, dst}, Data: data}
	}
	drop, accept := ruleset.Verdict{Kind: ruleset.Drop}, ruleset.Verdict{Kind: ruleset.Accept}
	a, b := ruleset.Str("192.0.2.1"), ruleset.Str("198.51.100.1")
	crossing := []ruleset.Expr{one(network("192.0.2.0"), b, accept), one(a, network("198.51.100.0"), drop)}
	apart := []ruleset.Expr{one(network("192.0.2.0"), b, accept), one(network("203.0.113.0"), b, drop)}
	exact := []ruleset.Expr{one(a, b, accept), one(b, a, drop)}
	for name, tt := range map[string]struct {
		elems   []ruleset.Expr
		flags   []string // of a named map; nil: it is anonymous
		fwd     bool
		changes bool
		want    reason.Reason
	}{
		"crossing":                         {elems: crossing, want: reason.OpaqueStatement},
		"apart":                            {elems: apart, want: reason.None},
		"exact":                            {elems: exact, want: reason.None},
		"crossing, named, constant":        {elems: crossing, flags: []string{"constant", "interval"}, changes: true, want: reason.OpaqueStatement},
		"apart, named, constant":           {elems: apart, flags: []string{"constant", "interval"}, changes: true, want: reason.None},
		"apart, named, may change":         {elems: apart, flags: []string{"interval"}, changes: true, want: reason.MatchNoPlace},
		"exact, named, may change":         {elems: exact, flags: []string{}, changes: true, want: reason.None},
		"devices, apart":                   {elems: []ruleset.Expr{one(network("192.0.2.0"), b, ruleset.Str("eth1")), one(b, a, ruleset.Str("eth0"))}, fwd: true, want: reason.None},
		"devices, crossing":                {elems: []ruleset.Expr{one(network("192.0.2.0"), b, ruleset.Str("eth1")), one(a, network("198.51.100.0"), ruleset.Str("eth0"))}, fwd: true, want: reason.FwdTargetNotEarly},
		"exact, constant, times out":       {elems: exact, flags: []string{"constant", "timeout"}, changes: true, want: reason.None},
		"devices, constant, and times out": {elems: []ruleset.Expr{one(a, b, ruleset.Str("eth1"))}, flags: []string{"constant", "timeout"}, fwd: true, changes: true, want: reason.FwdTargetNotEarly},
	} {
		t.Run(name, func(t *testing.T) {
			var data ruleset.Expr = ruleset.SetLit(tt.elems)
			if tt.flags != nil {
				data = ruleset.SetRef("m")
			}
			stmt := ruleset.Stmt(ruleset.VMap{Key: key, Data: data})
			if tt.fwd {
				stmt = ruleset.Fwd{Dev: ruleset.Map{Key: key, Data: data}}
			}
			rs := oneChain(stmt)
			if tt.flags != nil {
				set := &ruleset.Set{
					Family: ruleset.Netdev, Table: "t", Name: "m", Type: []string{"ipv4_addr", "ipv4_addr"}, IsMap: true,
					MapType: []string{"verdict"}, Flags: tt.flags, Elems: tt.elems,
				}
				if tt.fwd {
					set.MapType = []string{"ifname"}
				}
				rs.Tables[0].Sets = []*ruleset.Set{set}
			}
			p := Make(rs, pair(t, "ixgbe"), Options{NoHardware: true, SetsChange: tt.changes, Hooks: map[string]string{"eth0": "tc"}})
			for _, e := range p.judged[0].entries {
				if e.early.Reason != tt.want {
					t.Errorf("%+v, want %s", e.early, tt.want)
				}
				if slices.Contains(tt.flags, "timeout") && !tt.fwd && e.verdicts == nil {
					t.Error("the elements are those of now, though some time out")
				}
			}
		})
	}
}
