package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func TestStatusSaysWhereRulesRunAndWhyNotEarlier(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	e := &env{stdout: &out, getenv: func(string) string { return "" }}
	e.printRuled(engine.RulesStatus{On: true, Since: now.Add(-3 * time.Second), Why: "ruleset generation 7 by nft", Devices: []engine.RuledDevice{
		{
			Name: "wan", Hook: engine.XDP, Early: 12, Packets: engine.EarlyPackets{Dropped: 1500, Forwarded: 5, Ended: 20, Left: 3, Suspended: 1},
			Software: []engine.SoftwareRules{{Reason: engine.Reason{Code: reason.SideEffect, Text: "it has a limit"}, Rules: 2, First: "netdev t c: limit rate 1/second drop"}},
		},
		{Name: "lan", Hook: engine.Off, Reason: engine.Reason{Code: reason.RulesRefused, Text: "refused"}, Said: "R3 !read_ok"},
	}}, now)
	want := `
rules: nftables executes all of them, for 3.0s now: the last change was ruleset
       generation 7 by nft
rules of wan: 12 at xdp
  1.50k packets ended there (1.50k dropped, 5 sent on), 20 went on, 3 were left
  to nftables, 1 came while rules changed
  [side-effect] 2 in nftables only: it has a limit; the first: netdev t c: limit
  rate 1/second drop
rules of lan: all in nftables
  [rules-refused] refused
  the verifier said: R3 !read_ok
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestCountersOfARuleAreThoseOfNftablesAndOfItsProgram(t *testing.T) {
	rule := func(handle int, s ...ruleset.Stmt) *ruleset.Rule {
		return &ruleset.Rule{Family: ruleset.Netdev, Table: "t", Chain: "c", Handle: handle, Stmts: s}
	}
	rs := &ruleset.Ruleset{Tables: []*ruleset.Table{{
		Family: ruleset.Netdev, Name: "t", Handle: 3, Chains: []*ruleset.Chain{{
			Family: ruleset.Netdev, Table: "t", Name: "c", Base: &ruleset.Base{Hook: "ingress"}, Rules: []*ruleset.Rule{
				rule(5, ruleset.Counter{Packets: 2, Bytes: 200}, ruleset.Verdict{Kind: ruleset.Drop}),
				rule(6, ruleset.Verdict{Kind: ruleset.Drop}),
			},
		}},
	}}}
	id := engine.RuleID{Family: "netdev", Table: "t", TableHandle: 3, Chain: "c", Handle: 5}
	earlier := id
	earlier.TableHandle = 2 // of a table of this name that is gone
	got := countRules(rs, nil, map[engine.RuleID]engine.Counter{id: {Packets: 40, Bytes: 4000}, earlier: {Packets: 7}})
	if len(got) != 1 || got[0].RuleID != id || got[0].Packets != 42 || got[0].Bytes != 4200 || got[0].Early.Packets != 40 || got[0].NFT.Packets != 2 {
		t.Errorf("%+v", got)
	}
}
