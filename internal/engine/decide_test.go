package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestHookOfADevice(t *testing.T) {
	no := engine.Reason{Code: reason.XDPRxVLANOn, Text: "zz0 takes tags off"}
	for _, c := range []struct {
		name   string
		link   engine.Link
		choice engine.Hook
		hook   engine.Hook
		code   reason.Reason
	}{
		{"physical", enginetest.NIC("zz0"), "", engine.XDP, reason.None},
		{"physical asked for tc", enginetest.NIC("zz0"), engine.TC, engine.TC, reason.None},
		{"physical that cannot", with(enginetest.NIC("zz0"), func(l *engine.Link) { l.XDP = no }), "", engine.TC, reason.XDPRxVLANOn},
		{"veth", enginetest.Veth("zz0"), "", engine.TC, reason.TCByDefault},
		{"veth asked for xdp", enginetest.Veth("zz0"), engine.XDP, engine.XDP, reason.None},
		{"switched off", enginetest.Veth("zz0"), engine.Off, engine.Off, reason.OffByUser},
		{"loopback", engine.Link{Name: "zz0", Ifindex: 1, Loopback: true}, "", engine.Off, reason.OffLoopback},
		{"tap", engine.Link{Name: "zz0", Kind: "tun", Ethernet: true}, "", engine.TC, reason.TCOnly},
		{"tun", engine.Link{Name: "zz0", Kind: "tun", PointToPoint: true}, "", engine.TC, reason.TCOnly},
		{"ppp", engine.Link{Name: "zz0", Kind: "ppp", PointToPoint: true}, "", engine.TC, reason.TCOnly},
		{"wireguard", engine.Link{Name: "zz0", Kind: "wireguard", PointToPoint: true}, "", engine.TC, reason.TCOnly},
		{"gre", engine.Link{Name: "zz0", Kind: "gre", PointToPoint: true}, "", engine.TC, reason.TCOnly},
		{"gre to many", engine.Link{Name: "zz0", Kind: "gre"}, "", engine.Off, reason.OffNoRemote},
		{"gretap", engine.Link{Name: "zz0", Kind: "gretap", Ethernet: true}, "", engine.TC, reason.TCOnly},
		{"vxlan", engine.Link{Name: "zz0", Kind: "vxlan", Ethernet: true}, "", engine.TC, reason.TCOnly},
		{"vxlan external", engine.Link{Name: "zz0", Kind: "vxlan", Ethernet: true, External: true}, "", engine.Off, reason.OffExternalTunnel},
		{"vxlan-gpe", engine.Link{Name: "zz0", Kind: "vxlan"}, "", engine.Off, reason.OffNotEthernet},
		{"vti", engine.Link{Name: "zz0", Kind: "vti", PointToPoint: true}, "", engine.Off, reason.OffIPsecDevice},
		{"xfrm", engine.Link{Name: "zz0", Kind: "xfrm"}, "", engine.Off, reason.OffIPsecDevice},
		{"can", engine.Link{Name: "zz0", Kind: "vcan"}, "", engine.Off, reason.OffNotEthernet},
		{"ipvlan", engine.Link{Name: "zz0", Kind: "ipvlan", Ethernet: true}, "", engine.Off, reason.OffStacked},
		{"bridge without ports", engine.Link{Name: "zz0", Kind: "bridge", Ethernet: true}, "", engine.Off, reason.OffNoPort},
		{"vlan of another namespace", engine.Link{Name: "zz0", Kind: "vlan", Ethernet: true}, "", engine.Off, reason.OffLowerElsewhere},
		{"vrf", engine.Link{Name: "zz0", Kind: "vrf", Ethernet: true}, "", engine.Off, reason.OffVRF},
		{"bond", engine.Link{Name: "zz0", Kind: "bond", Ethernet: true}, "", engine.TC, reason.TCOnly},
		{"macvlan", engine.Link{Name: "zz0", Kind: "macvlan", Ethernet: true}, "", engine.TC, reason.TCOnly},
		{"bridge port", with(enginetest.NIC("zz0"), func(l *engine.Link) { l.Master, l.MasterKind = "br0", "bridge" }), "", engine.XDP, reason.None},
		{"vrf member", with(enginetest.NIC("zz0"), func(l *engine.Link) { l.Master, l.MasterKind = "red", "vrf" }), "", engine.XDP, reason.None},
		{"bond port", with(enginetest.NIC("zz0"), func(l *engine.Link) { l.Master, l.MasterKind = "bond0", "bond" }), "", engine.Off, reason.OffPort},
		{"openvswitch port", with(enginetest.NIC("zz0"), func(l *engine.Link) { l.Master, l.MasterKind = "ovs-system", "openvswitch" }), "", engine.Off, reason.OffPort},
		{"index of 25 bits", with(enginetest.Veth("zz0"), func(l *engine.Link) { l.Ifindex = 1 << 24 }), "", engine.Off, reason.OffBigIfindex},
		{"foreign filter", with(enginetest.Veth("zz0"), func(l *engine.Link) { l.Filters = []string{"tcx ingress program x"} }), "", engine.Off, reason.OffForeignFilter},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.link.Ifindex == 0 {
				c.link.Ifindex = 5
			}
			choices := engine.Choices{}
			if c.choice != "" {
				choices["zz0"] = c.choice
			}
			ds, err := engine.Check(engine.View{Ruleset: flowtable("zz0"), Links: []engine.Link{c.link}}, choices)
			if err != nil {
				t.Fatal(err)
			}
			if len(ds) != 1 || ds[0].Hook != c.hook || ds[0].Reason.Code != c.code {
				t.Errorf("decided %+v, want hook %s, code %q", ds, c.hook, c.code)
			}
			if c.code != reason.None && !strings.Contains(ds[0].Reason.Error(), "zz0") {
				t.Errorf("reason %q names nothing", ds[0].Reason.Error())
			}
		})
	}
}

func with(l engine.Link, f func(*engine.Link)) engine.Link {
	f(&l)
	return l
}

func TestChainOnTheDeviceKeepsItOffAndIsNamed(t *testing.T) {
	r := flowtable("zz0")
	r.Chains = []handover.Chain{{Family: "netdev", Table: "guard", Name: "in", Hook: "ingress", Devices: []string{"zz0"}, Rules: 1}}
	ds, err := engine.Check(engine.View{Ruleset: r, Links: []engine.Link{with(enginetest.NIC("zz0"), func(l *engine.Link) { l.Ifindex = 5 })}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ds[0].Hook != engine.Off || ds[0].Reason.Code != reason.OffDeviceChain || !strings.Contains(ds[0].Reason.Text, "netdev guard in") {
		t.Errorf("decided %+v", ds[0])
	}
}

func TestChoiceThatCannotBeHonoredIsAnError(t *testing.T) {
	foreign := engine.Reason{Code: reason.XDPForeignProgram, Text: "zz0 runs an XDP program of somebody else"}
	for name, c := range map[string]struct {
		link   engine.Link
		choice string
		code   reason.Reason
	}{
		"xdp with a foreign program": {with(enginetest.NIC("zz0"), func(l *engine.Link) { l.XDP = foreign }), "zz0=xdp", reason.XDPForeignProgram},
		"tc on a bond port":          {with(enginetest.Veth("zz0"), func(l *engine.Link) { l.Master, l.MasterKind = "bond0", "bond" }), "zz0=tc", reason.OffPort},
		"xdp on ppp":                 {engine.Link{Name: "zz0", Kind: "ppp", PointToPoint: true}, "zz0=xdp", reason.TCOnly},
		"unknown device":             {enginetest.NIC("zz0"), "e=off", reason.OffNoDevice},
	} {
		t.Run(name, func(t *testing.T) {
			choices := engine.Choices{}
			if err := choices.Set(c.choice); err != nil {
				t.Fatal(err)
			}
			c.link.Ifindex = 5
			_, err := engine.Check(engine.View{Ruleset: flowtable("zz0"), Links: []engine.Link{c.link}}, choices)
			var refused *engine.DeviceError
			if !errors.As(err, &refused) || refused.Reason.Code != c.code || !strings.Contains(err.Error(), "--device "+c.choice) {
				t.Errorf("error %v, want code %s", err, c.code)
			}
		})
	}
}

func TestChoicesThatAreNone(t *testing.T) {
	for _, s := range []string{"", "eth0", "=xdp", "eth0=", "eth0=hw"} {
		if err := (engine.Choices{}).Set(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestFiltersThatAreNone(t *testing.T) {
	for _, f := range [][4]string{{"10.0.0"}, {"", "x"}, {"", "", "0"}, {"", "", "65536"}, {"", "", "80x"}, {"", "", "", "icmp"}} {
		if _, err := engine.ParseFilter(f[0], f[1], f[2], f[3]); err == nil {
			t.Errorf("%q was accepted", f)
		}
	}
}
