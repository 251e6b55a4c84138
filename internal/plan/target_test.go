package plan

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// oneChain is a ruleset with one rule at the ingress of eth0.
func oneChain(stmts ...ruleset.Stmt) *ruleset.Ruleset {
	c := &ruleset.Chain{
		Family: ruleset.Netdev, Table: "t", Name: "in",
		Base:  &ruleset.Base{Type: "filter", Hook: "ingress", Devices: []string{"eth0"}},
		Rules: []*ruleset.Rule{{Family: ruleset.Netdev, Table: "t", Chain: "in", Stmts: stmts}},
	}
	return &ruleset.Ruleset{Tables: []*ruleset.Table{{Family: ruleset.Netdev, Name: "t", Chains: []*ruleset.Chain{c}}}}
}

// pair is a machine with eth0 and eth1 of a profile; eth1 takes frames from XDP.
func pair(t *testing.T, profile string) caps.Machine {
	t.Helper()
	p, ok := caps.Lookup(profile)
	if !ok {
		t.Fatalf("no profile %s", profile)
	}
	m := caps.Assume(p, "eth0", "eth1")
	m.Devices[1].XDP = caps.XDP{Known: true, Features: []caps.XDPFeature{caps.XDPBasic, caps.XDPRedirect, caps.XDPNdoXmit}}
	return m
}

func destination(a string) ruleset.Match {
	return ruleset.Match{Op: "==", Left: ruleset.Payload{Proto: "ip", Field: "daddr"}, Right: ruleset.Str(a)}
}

func TestFwdStaysWithNFTablesWhereItWouldGoRoundTheEgressOfItsTarget(t *testing.T) {
	for name, tt := range map[string]struct {
		hook    string
		devices []string // of a chain at egress; nil: there is none
		flags   []string
		filter  bool
		want    reason.Reason
	}{
		"nothing at egress, tc":         {hook: "tc", want: reason.None},
		"nothing at egress, xdp":        {hook: "xdp", want: reason.None},
		"chain of the target, tc":       {hook: "tc", devices: []string{"eth1"}, want: reason.FwdTargetNotEarly},
		"chain of the target, xdp":      {hook: "xdp", devices: []string{"eth7", "eth1"}, want: reason.FwdTargetNotEarly},
		"chain of many devices":         {hook: "tc", devices: []string{"eth*"}, want: reason.FwdTargetNotEarly},
		"chain of devices not known":    {hook: "tc", devices: []string{}, want: reason.FwdTargetNotEarly},
		"chain of another device":       {hook: "tc", devices: []string{"eth0", "wan*"}, want: reason.None},
		"chain of a dormant table":      {hook: "tc", devices: []string{"eth1"}, flags: []string{"dormant"}, want: reason.None},
		"filter of the target, tc":      {hook: "tc", filter: true, want: reason.None},
		"filter of the target, and xdp": {hook: "xdp", filter: true, want: reason.FwdTargetNotEarly},
	} {
		t.Run(name, func(t *testing.T) {
			rs := oneChain(destination("192.0.2.1"), ruleset.Fwd{Dev: ruleset.Str("eth1")})
			if tt.devices != nil {
				rs.Tables = append(rs.Tables, &ruleset.Table{
					Family: ruleset.Netdev, Name: "out", Flags: tt.flags, Chains: []*ruleset.Chain{{
						Family: ruleset.Netdev, Table: "out", Name: "e",
						Base: &ruleset.Base{Type: "filter", Hook: "egress", Policy: "drop", Devices: tt.devices},
					}},
				})
			}
			m := pair(t, "ixgbe")
			if tt.filter {
				m.Devices[1].Filters = []caps.Filter{{Egress: true, Text: "tc filter egress pref 1 bpf"}}
			}
			p := Make(rs, m, Options{NoHardware: true, Hooks: map[string]string{"eth0": tt.hook}})
			if e := p.judged[0].entries[0]; e.early.Reason != tt.want {
				t.Errorf("%+v, want %s", e.early, tt.want)
			}
		})
	}
}

func TestFwdAtXDPNeedsFramesThatAreWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		profile, hook string
		rxVLAN        caps.Toggle
		want          reason.Reason
	}{
		"card":                                {"ixgbe", "xdp", caps.Off, reason.None},
		"card that takes tags off":            {"ixgbe", "xdp", caps.OnFixed, reason.FwdTargetNotEarly},
		"card that takes tags off, tc":        {"ixgbe", "tc", caps.OnFixed, reason.None},
		"veth, with tags beside the frame":    {"veth", "xdp", "", reason.FwdTargetNotEarly},
		"veth at tc":                          {"veth", "tc", "", reason.None},
		"tap, with frames of a program":       {"tun", "xdp", "", reason.FwdTargetNotEarly},
		"guest, with frames of another guest": {"virtio_net", "xdp", "", reason.FwdTargetNotEarly},
	} {
		t.Run(name, func(t *testing.T) {
			m := pair(t, tt.profile)
			m.Devices[0].RxVLAN = tt.rxVLAN
			rs := oneChain(destination("192.0.2.1"), ruleset.Fwd{Dev: ruleset.Str("eth1")})
			p := Make(rs, m, Options{NoHardware: true, Hooks: map[string]string{"eth0": tt.hook}})
			if e := p.judged[0].entries[0]; e.early.Reason != tt.want {
				t.Errorf("%+v, want %s", e.early, tt.want)
			}
		})
	}
}

// The kernel's copy of a packet ends in an ifb, and one that tc makes comes back from it as received.
func TestNothingIsSentIntoAnIFB(t *testing.T) {
	dup := ruleset.Dup{Addr: ruleset.Str("eth1")}
	fwd := ruleset.Fwd{Dev: ruleset.Str("eth1")}
	drop := ruleset.Verdict{Kind: ruleset.Drop}
	for name, tt := range map[string]struct {
		hook, kind string
		lower      []string
		stmts      []ruleset.Stmt
		want       reason.Reason
	}{
		"copy":                    {"tc", "veth", nil, []ruleset.Stmt{dup, drop}, reason.None},
		"copy at XDP":             {"xdp", "veth", nil, []ruleset.Stmt{dup, drop}, reason.SideEffect},
		"copy into an ifb":        {"tc", "ifb", nil, []ruleset.Stmt{dup, drop}, reason.FwdTargetNotEarly},
		"copy into what is on it": {"tc", "vlan", []string{"ifb0"}, []ruleset.Stmt{dup, drop}, reason.FwdTargetNotEarly},
		"packet into an ifb":      {"tc", "ifb", nil, []ruleset.Stmt{fwd}, reason.FwdTargetNotEarly},
		"packet into a vlan":      {"tc", "vlan", nil, []ruleset.Stmt{fwd}, reason.None},
		"two copies of one rule":  {"tc", "veth", nil, []ruleset.Stmt{dup, dup, drop}, reason.SideEffect},
	} {
		t.Run(name, func(t *testing.T) {
			m := pair(t, "ixgbe")
			m.Devices[1].Kind, m.Devices[1].Lower = tt.kind, tt.lower
			m.Devices = append(m.Devices, caps.Device{Name: "ifb0", Kind: "ifb", Type: "ether"})
			p := Make(oneChain(tt.stmts...), m, Options{NoHardware: true, Hooks: map[string]string{"eth0": tt.hook}})
			if e := p.judged[0].entries[0]; e.early.Reason != tt.want {
				t.Errorf("%+v, want %s", e.early, tt.want)
			}
		})
	}
}
