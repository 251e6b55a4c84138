//go:build guest

package link

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestKindsOfDevicesTheBuildMachineLacks(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add link r0 name r0.10 type vlan id 10
		ip link add link r0 name s type vlan id 100 protocol 802.1ad
		ip link add link s name s.7 type vlan id 7
		ip link add br0 type bridge vlan_filtering 1
		ip link add bond0 type bond mode active-backup
		ip link add d0 type dummy
		ip link set d0 master bond0
		ip link add red type vrf table 10
		ip link set s.7 master red
		ip link add vx type vxlan id 5 remote 192.0.2.9 dstport 4789
		ip link add vxe type vxlan external dstport 4790
		ip link add gn type geneve id 5 remote 192.0.2.9
		ip link add gne type geneve external dstport 6082
		ip link add g type gre remote 192.0.2.9 local 192.0.2.1
		ip link add gm type gre local 192.0.2.1
		ip link add gt type gretap remote 192.0.2.9 local 192.0.2.1
		ip link add ip0 type ipip remote 192.0.2.9 local 192.0.2.1
		ip link add ipm type ipip local 192.0.2.1
		ip link add ipe type ipip external
		ip link add st type sit remote 192.0.2.9 local 192.0.2.1
		ip link add t6 type ip6tnl remote 2001:db8::9 local 2001:db8::1
		ip link add wg0 type wireguard`)
	name := map[uint32]string{}
	ds, err := p.h.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		name[d.Ifindex] = d.Name
	}
	type told struct {
		kind     string
		below    string
		master   string
		vlan     uint16
		proto    uint16
		ethernet bool
		p2p      bool
		external bool
		filters  bool
	}
	want := map[string]told{
		"r0.10": {kind: "vlan", below: "r0", vlan: 10, proto: unix.ETH_P_8021Q, ethernet: true},
		"s":     {kind: "vlan", below: "r0", vlan: 100, proto: unix.ETH_P_8021AD, ethernet: true},
		"s.7":   {kind: "vlan", below: "s", vlan: 7, proto: unix.ETH_P_8021Q, ethernet: true, master: "red"},
		"br0":   {kind: "bridge", ethernet: true, filters: true},
		"bond0": {kind: "bond", ethernet: true},
		"d0":    {kind: "dummy", ethernet: true, master: "bond0"},
		"red":   {kind: "vrf", ethernet: true},
		"vx":    {kind: "vxlan", ethernet: true},
		"vxe":   {kind: "vxlan", ethernet: true, external: true},
		"gn":    {kind: "geneve", ethernet: true},
		"gne":   {kind: "geneve", ethernet: true, external: true},
		"g":     {kind: "gre", p2p: true},
		"gm":    {kind: "gre"},
		"gt":    {kind: "gretap", ethernet: true},
		"ip0":   {kind: "ipip", p2p: true},
		"ipm":   {kind: "ipip"},
		"ipe":   {kind: "ipip", external: true},
		"st":    {kind: "sit", p2p: true},
		"t6":    {kind: "ip6tnl", p2p: true},
		"wg0":   {kind: "wireguard", p2p: true},
	}
	for dev, want := range want {
		d := p.device(dev)
		got := told{
			kind: d.Kind, below: name[d.Below()], vlan: d.VLAN, proto: d.VLANProtocol,
			ethernet: d.ARPHRD == unix.ARPHRD_ETHER, p2p: d.PointToPoint, external: d.External, filters: d.VLANFiltering,
		}
		if d.Master != nil {
			got.master = d.Master.Name
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", dev, got, want)
		}
	}
	if r := p.device("r0").XDPCapable(); r.Code != reason.XDPVLANAbove {
		t.Errorf("veth below vlans: %s", r)
	}
}

func TestWatchBondsAndBridgesThatFilter(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add br0 type bridge
		ip link set br0 up
		ip link set r0 master br0
		ip link add bond0 type bond mode active-backup
		ip link add d0 type dummy
		ip link add d1 type dummy
		ip link set d0 master bond0
		ip link set d1 master bond0
		ip link set bond0 up`)
	w := p.watch(t)
	for _, c := range []struct {
		do, dev string
		kind    Kind
	}{
		{"ip link set bond0 type bond active_slave d1", "bond0", LinkChanged},
		{"ip link set d1 nomaster", "d1", LinkChanged},
		{"ip link set br0 type bridge vlan_filtering 1", "br0", LinkChanged},
		{"bridge vlan add dev r0 vid 10", "r0", PortChanged},
		{"bridge vlan del dev r0 vid 10", "r0", PortChanged},
		{"ip link add link br0 name br0.10 type vlan id 10", "br0.10", LinkChanged},
	} {
		w.barrier(p)
		p.router.Script(c.do)
		w.until(c.do, func(e Event) bool { return e.Kind == c.kind && e.Ifindex == p.device(c.dev).Ifindex && !e.Gone })
	}
}
