package nft_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestListWholeSaysOfFlowsWhatListSaysAndLeavesElementsOut(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "whole")
	ns.NFTables(`
		table inet filter {
			set f1 { type ifname; elements = { "r0", "r1" }; comment "` + handover.LoweredComment + `; priority=0"; }
			set many { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
			chain in { type filter hook ingress device "lo" priority 0; ip saddr @many drop; ip saddr { 10.1.1.1, 10.1.1.2 } drop; }
			chain forward { type filter hook forward priority 0; iifname @f1 accept; }
		}`)
	var part, whole handover.Ruleset
	var rs *ruleset.Ruleset
	err := ns.Do(func() (err error) {
		if part, err = nft.List(context.Background()); err == nil {
			whole, rs, err = nft.ListWhole(context.Background(), &nft.Comparison{})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(part, whole) || len(whole.Flowtables) != 1 || len(whole.Flowtables[0].Devices) != 2 {
		t.Errorf("of flows:\n%+v\nwant\n%+v", whole, part)
	}
	table := rs.Table(ruleset.Inet, "filter")
	if n := len(table.Set("f1").Elems); n != 2 {
		t.Errorf("the lowered flowtable has %d devices", n)
	}
	if n := len(table.Set("many").Elems); n != 0 {
		t.Errorf("%d elements of a named set", n)
	}
	if c := table.Chain("in"); len(c.Base.Devices) != 1 || len(c.Rules) != 2 {
		t.Errorf("chain: %+v", c)
	}
	if m, ok := table.Chain("in").Rules[1].Stmts[0].(ruleset.Match); !ok || len(m.Right.(ruleset.SetLit)) != 2 {
		t.Errorf("the set of a rule: %+v", table.Chain("in").Rules[1].Stmts[0])
	}
}
