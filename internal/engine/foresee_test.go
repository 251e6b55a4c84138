package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
)

func TestForeseeDecidesEachDeviceAlone(t *testing.T) {
	port := enginetest.NIC("eth0")
	port.Ifindex, port.Master, port.MasterKind = 2, "br0", "bridge"
	veth := enginetest.Veth("v0")
	veth.Ifindex = 3
	links := []engine.Link{
		{Name: "lo", Ifindex: 1, Loopback: true},
		port, veth,
		{Name: "br0", Ifindex: 4, Kind: "bridge", Ethernet: true},
		{Name: "eth0.7", Ifindex: 5, Kind: "vlan", Ethernet: true, Lower: "eth0", VLAN: 7, VLANProtocol: "802.1Q"},
	}
	rules := handover.Ruleset{
		// A flowtable of the ruleset is no matter; a chain on a device is.
		Flowtables: []handover.Flowtable{{Family: "inet", Table: "t", Name: "f", Devices: []string{"br0", "eth0"}}},
		Chains:     []handover.Chain{{Family: "netdev", Table: "t", Name: "c", Hook: "ingress", Devices: []string{"v0"}, Rules: 1}},
	}
	ds := engine.Foresee(engine.View{Ruleset: rules, Links: links})
	var got []string
	for _, d := range ds {
		on := ""
		for _, p := range d.On {
			on += fmt.Sprintf(" %s:%s", p.Name, p.Hook)
		}
		got = append(got, fmt.Sprintf("%s %s%s", d.Name, d.Hook, on))
	}
	want := "lo off lo:off | eth0 xdp eth0:xdp | v0 off v0:off | br0 xdp eth0:xdp | eth0.7 xdp eth0:xdp"
	if s := strings.Join(got, " | "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if links[1].Master != "br0" || len(rules.Flowtables) != 1 {
		t.Error("the view was changed")
	}
}
