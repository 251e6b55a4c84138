package plan

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// dropping is a netdev table with a chain on a device, of rules that drop what comes from one address each.
func dropping(name, device string, priority int, from ...string) *ruleset.Table {
	t := &ruleset.Table{Family: ruleset.Netdev, Name: name}
	c := &ruleset.Chain{Family: t.Family, Table: name, Name: "c", Base: &ruleset.Base{
		Type: "filter", Hook: "ingress", Priority: priority, Policy: "accept", Devices: []string{device},
	}}
	for i, address := range from {
		c.Rules = append(c.Rules, &ruleset.Rule{Family: t.Family, Table: name, Chain: c.Name, Index: i, Stmts: []ruleset.Stmt{
			ruleset.Match{Op: "==", Left: ruleset.Payload{Proto: "ip", Field: "saddr"}, Right: ruleset.Str(address)},
			ruleset.Verdict{Kind: ruleset.Drop},
		}})
	}
	t.Chains = []*ruleset.Chain{c}
	return t
}

func rulesetOf(tables ...*ruleset.Table) *ruleset.Ruleset { return &ruleset.Ruleset{Tables: tables} }

func nics(t *testing.T, names ...string) caps.Machine {
	t.Helper()
	p, ok := caps.Lookup("mlx5")
	if !ok {
		t.Fatal("no profile")
	}
	return caps.Assume(p, names...)
}

// reasonOf is where the first rule of a table is, and why not earlier.
func reasonOf(t *testing.T, p *Plan, table string) (Tier, reason.Reason) {
	t.Helper()
	for _, c := range p.Chains {
		if c.Table == table {
			at := c.Rules[0].At[0]
			return at.Tier, at.Finding.Reason
		}
	}
	t.Fatalf("no table %s", table)
	return 0, 0
}

func TestTableThatGoesWithItsOwnerIsTheKernelsAlone(t *testing.T) {
	for _, c := range []struct {
		flags  []string
		whole  bool
		stays  Tier
		reason reason.Reason
	}{
		{nil, true, Hardware, 0},
		{[]string{"owner"}, false, Software, reason.TableOwned},
		{[]string{"owner", "persist"}, true, Hardware, 0},
	} {
		owned := dropping("owned", "eth0", 10, "192.0.2.1")
		owned.Flags = c.flags
		other := dropping("other", "eth0", 20, "192.0.2.2", "192.0.2.1")
		p := Make(rulesetOf(owned, other), nics(t, "eth0"), Options{})
		if tier, why := reasonOf(t, p, "owned"); tier != c.stays || why != c.reason {
			t.Errorf("flags %v: the rule is in %s, %s", c.flags, tier, why)
		}
		s := p.Shares()[0]
		if s.Whole != c.whole {
			t.Errorf("flags %v: the share is whole: %v", c.flags, s.Whole)
		}
		tables := map[string]int{}
		for _, e := range s.Entries {
			tables[e.Rule.Table]++
		}
		// Behind the owned table, what it does not match runs early all the same.
		want := map[string]int{"owned": 1, "other": 2}
		if !c.whole {
			want = map[string]int{"other": 1}
		}
		if tables["owned"] != want["owned"] || tables["other"] != want["other"] {
			t.Errorf("flags %v: %v run early, want %v\n%s", c.flags, tables, want, p.Text())
		}
	}
}

func TestPolicyOfATableThatGoesWithItsOwnerIsTheKernelsAlone(t *testing.T) {
	owned := dropping("owned", "eth0", 10)
	owned.Flags, owned.Chains[0].Base.Policy = []string{"owner"}, "drop"
	s := Make(rulesetOf(owned), nics(t, "eth0"), Options{}).Shares()[0]
	if s.Whole || len(s.Entries) > 0 {
		t.Errorf("whole: %v, %d entries", s.Whole, len(s.Entries))
	}
}

func TestDeviceThatAWildcardOfAnIngressChainMeansRunsNothingEarly(t *testing.T) {
	early := func(p *Plan) map[string]share.Share {
		out := map[string]share.Share{}
		for _, s := range p.Shares() {
			for _, d := range s.Devices {
				out[d] = s
			}
		}
		return out
	}
	wild, named, far := dropping("wild", "eth*", 0, "192.0.2.1"), dropping("named", "eth0", 10, "192.0.2.2"), dropping("far", "lan0", 10, "192.0.2.3")
	rs := rulesetOf(wild, named, far)
	p := Make(rs, nics(t, DevicesOf(rs)...), Options{})
	shares := early(p)
	if _, ok := shares["eth0"]; ok || len(shares) != 1 || !shares["lan0"].Whole {
		t.Errorf("shares of %v", shares)
	}
	for _, table := range []string{"wild", "named"} {
		if tier, _ := reasonOf(t, p, table); tier != Software {
			t.Errorf("the rule of table %s is in %s", table, tier)
		}
	}
	for _, d := range p.Devices {
		if want := d.Name != "lan0"; (d.XDP.Reason == reason.DeviceWildcard) != want || (d.Hardware.Reason == reason.DeviceWildcard) != want {
			t.Errorf("%s: xdp %s, hardware %s", d.Name, d.XDP.Reason, d.Hardware.Reason)
		}
	}
	wild.Flags = []string{"dormant"}
	if _, ok := early(Make(rs, nics(t, "eth0", "lan0"), Options{}))["eth0"]; !ok {
		t.Error("a dormant table keeps eth0 from running rules early")
	}
}

// Packets of its flows come to no rule behind it, and so a rule must not be executed before it.
func TestFlowtableOnAWildcardComesBeforeRulesBehindIt(t *testing.T) {
	flows := &ruleset.Table{
		Family: ruleset.Inet, Name: "flows",
		Flowtables: []*ruleset.Flowtable{{Family: ruleset.Inet, Table: "flows", Name: "f", Hook: "ingress", Devices: []string{"eth*"}}},
		Chains: []*ruleset.Chain{{Family: ruleset.Inet, Table: "flows", Name: "forward", Base: &ruleset.Base{Type: "filter", Hook: "forward", Policy: "accept"}, Rules: []*ruleset.Rule{
			{Family: ruleset.Inet, Table: "flows", Chain: "forward", Stmts: []ruleset.Stmt{ruleset.FlowAdd{Flowtable: "f"}}},
		}}},
	}
	for _, device := range []string{"eth0", "lan0"} {
		p := Make(rulesetOf(flows, dropping("t", device, 10, "192.0.2.1")), nics(t, device), Options{})
		if tier, why := reasonOf(t, p, "t"); (tier == Software) != (device == "eth0") {
			t.Errorf("on %s the rule is in %s, %s", device, tier, why)
		}
	}
}
