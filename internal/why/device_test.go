package why_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/why"
)

// TestDevicesHaveTheirSentence: made-up devices in, sentence, evidence and advice out.
func TestDevicesHaveTheirSentence(t *testing.T) {
	c := tracked(nil)
	look := why.Snapshot{Entries: entries(c, 600, nil), Refused: refusal(c, "altered", "the kernel changed more than addresses, ports and TTL", "", false)}
	before := why.Snapshot{Entries: entries(c, 100, nil)}
	shut := func(m *why.Machine) {
		m.Decisions[1].Hook, m.Decisions[1].Reason = engine.Off, engine.Reason{Code: reason.OffDeviceChain, Text: "fast packets would not pass the ingress chain netdev t c on r1", Advice: "remove the chain or its rules"}
	}
	bridged := func(m *why.Machine) {
		m.Decisions = append(m.Decisions, engine.Decision{
			Name: "br0", Hook: engine.TC, Flowtables: []string{"inet filter f1"},
			On: []engine.Place{{Name: "p0", Hook: engine.TC}, {Name: "p1", Hook: engine.Off, Reason: engine.Reason{Code: reason.OffForeignFilter, Text: "fast packets would not pass the filter on p1"}}},
		})
	}
	var b strings.Builder
	for _, x := range []struct {
		name    string
		machine why.Machine
		device  why.Device
		stage   why.Stage
		reason  string
	}{
		{"at tc", machine(nil), why.Device{Name: "r0", Attached: []string{"egress", "ingress"}, Before: before, After: look}, why.DeviceOn, "tc-by-default"},
		{"at xdp", machine(nil), why.Device{Name: "r1", Attached: []string{"egress", "ingress", "xdp"}}, why.DeviceOn, ""},
		{"above a listed one", machine(nil), why.Device{Name: "r1.7"}, why.DeviceOn, ""},
		{"a bridge with a port that is off", machine(bridged), why.Device{Name: "br0"}, why.DeviceOn, "foreign-tc-filter"},
		{"off", machine(shut), why.Device{Name: "r1"}, why.DeviceOff, "netdev-chain"},
		{"not listed", machine(nil), why.Device{Name: "r2"}, why.DeviceNotListed, "flow-lower-device-not-listed"},
		{"a bridge that is not listed", machine(kernel), why.Device{Name: "br0"}, why.DeviceNotListed, "flow-lower-device-not-listed"},
		{"no daemon", machine(noDaemon), why.Device{Name: "r0"}, why.Waiting, "no-daemon"},
		{"no flowtable", machine(without), why.Device{Name: "r0"}, why.NoFlowAdd, "flow-no-rule"},
	} {
		a := x.machine.ExplainDevice(x.device)
		if a.Stage != x.stage || a.Reason != x.reason {
			t.Errorf("%s: stage %s, reason %q, want %s, %q", x.name, a.Stage, a.Reason, x.stage, x.reason)
		}
		fmt.Fprintf(&b, "== %s\n%s\n", x.name, render(a))
	}
	p, err := why.ParsePattern("10.9.9.9:80")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name    string
		machine why.Machine
		nothing why.Nothing
	}{
		{"no flow matches", machine(nil), why.Nothing{Pattern: p, Tracked: 7}},
		{"no flow matches, with notrack", machine(nil), why.Nothing{Pattern: p, Tracked: 7, Notracks: []string{"inet raw prerouting handle 3"}}},
		{"no flow matches, no flow add, no conntrack", machine(without), why.Nothing{Pattern: p}},
	} {
		fmt.Fprintf(&b, "== %s\n%s\n", x.name, render(x.machine.ExplainNothing(x.nothing)))
	}
	golden(t, "testdata/devices.golden", b.String())
}

func jump(target string) ruleset.Stmt { return ruleset.Verdict{Kind: ruleset.Jump, Target: target} }

// TestLoweredRulesetIsRaised to what it was written as.
func TestLoweredRulesetIsRaised(t *testing.T) {
	label := func(op string) ruleset.Stmt {
		if op == "set" {
			return ruleset.Mangle{Key: ruleset.CT{Key: "label"}, Value: ruleset.Num(127)}
		}
		return ruleset.Match{Op: "in", Left: ruleset.CT{Key: "label"}, Right: ruleset.Num(127)}
	}
	rule := func(chain string, handle int, stmts ...ruleset.Stmt) *ruleset.Rule {
		return &ruleset.Rule{Family: ruleset.Inet, Table: "filter", Chain: chain, Handle: handle, Stmts: stmts}
	}
	devices := ruleset.Match{Op: "==", Left: ruleset.Meta{Key: "iifname"}, Right: ruleset.SetRef("f1")}
	lowered := &ruleset.Ruleset{Tables: []*ruleset.Table{{
		Family: ruleset.Inet, Name: "filter",
		Sets: []*ruleset.Set{{Family: ruleset.Inet, Table: "filter", Name: "f1", Type: []string{"ifname"}}},
		Chains: []*ruleset.Chain{
			{Family: ruleset.Inet, Table: "filter", Name: "forward", Base: &ruleset.Base{Type: "filter", Hook: "forward", Policy: "drop"}, Rules: []*ruleset.Rule{
				rule("forward", 5, devices, label(""), jump("nft_offload_pass")),
				rule("forward", 6, state("established"), jump("nft_offload_add_127")),
				rule("forward", 7, state("established"), ruleset.Verdict{Kind: ruleset.Accept}),
			}},
			{Family: ruleset.Inet, Table: "filter", Name: "nft_offload_pass"},
			{Family: ruleset.Inet, Table: "filter", Name: "nft_offload_add_127", Rules: []*ruleset.Rule{
				rule("nft_offload_add_127", 9, label("set"), label(""), ruleset.Counter{Packets: 3}),
			}},
		},
	}}}
	before := lowered.String()
	raised := why.Raise(lowered, machine(nil).Flowtables)
	if lowered.String() != before {
		t.Errorf("the ruleset that was given has changed:\n%s", lowered)
	}
	tab := raised.Tables[0]
	if len(tab.Chains) != 1 || len(tab.Sets) != 0 || len(tab.Flowtables) != 1 || len(tab.Flowtables[0].Devices) != 2 {
		t.Errorf("raised to\n%s", raised)
	}
	var got []string
	for i, r := range tab.Chains[0].Rules {
		if r.Index != i {
			t.Errorf("rule %d has index %d", i, r.Index)
		}
		got = append(got, fmt.Sprintf("%d: %s", r.Handle, r))
	}
	want := "6: ct state established flow add @f1 counter packets 3 bytes 0\n7: ct state established accept"
	if strings.Join(got, "\n") != want {
		t.Errorf("rules:\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if again := why.Raise(raised, nil); again.String() != raised.String() {
		t.Errorf("what is not lowered has changed:\n%s", again)
	}
}
