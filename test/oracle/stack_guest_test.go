//go:build guest

package oracle

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// tagged is a VLAN device. Its priority maps give an IPv6 flow another priority on the way out than on the way in; IPv4
// forwarding takes the priority from the TOS byte.
func tagged() *stack {
	return &stack{
		name: "vlan", top: "DEV.10", tags: []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: 3<<13 | 10}},
		make: `
ip link add link DEV name DEV.10 type vlan id 10 ingress-qos-map 3:6 egress-qos-map 0:2 6:5
ip link set DEV.10 up
`,
	}
}

// doubled is a VLAN within a service provider's.
func doubled() *stack {
	return &stack{
		name: "qinq", top: "DEV.100.10",
		tags: []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 100}, {TPID: packet.EtherTypeVLAN, TCI: 10}},
		make: `
ip link add link DEV name DEV.100 type vlan proto 802.1ad id 100
ip link add link DEV.100 name DEV.100.10 type vlan id 10 egress-qos-map 0:4
ip link set DEV.100 up
ip link set DEV.100.10 up
`,
	}
}

// overVLAN is a bridge whose port is a VLAN device.
func overVLAN() *stack {
	return &stack{
		name: "bridge of a vlan", top: "DEVb", port: "DEVp", mac: packet.MAC{2, 0, 0, 0, 9, 1},
		tags: []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: 20}},
		make: `
ip link add link DEV name DEV.20 type vlan id 20
ip link add DEVb address 02:00:00:00:09:01 type bridge mcast_snooping 0
ip link add DEVp type veth peer name DEVq
ip link set DEV.20 master DEVb
ip link set DEVp master DEVb
ip link set DEV.20 up
ip link set DEVq up
ip link set DEVp up
ip link set DEVb up
`,
	}
}

// filtering is a bridge that keeps VLANs apart, with the router in VLAN 30. The port takes frames of it with a tag or
// without.
func filtering(name, flags string, tags ...packet.Tag) *stack {
	return &stack{
		name: name, top: "DEVb.30", port: "DEVp", mac: packet.MAC{2, 0, 0, 0, 9, 1}, tags: tags,
		make: `
ip link add DEVb address 02:00:00:00:09:01 type bridge mcast_snooping 0 vlan_filtering 1 vlan_default_pvid 0
ip link add DEVp type veth peer name DEVq
ip link set DEV master DEVb
ip link set DEVp master DEVb
bridge vlan add dev DEV vid 30 ` + flags + `
bridge vlan add dev DEVp vid 30
bridge vlan add dev DEVb vid 30 self
ip link add link DEVb name DEVb.30 type vlan id 30
ip link set DEVq up
ip link set DEVp up
ip link set DEVb up
ip link set DEVb.30 up
`,
	}
}

// dialled is a PPPoE session.
func dialled() *stack {
	return &stack{name: "pppoe", top: "DEVs", bare: func(b *box, side int, top string) bareEnd {
		if side == client {
			return testkit.OpenSession(b.t, b.r.R0, b.r.C0, top, side)
		}
		return testkit.OpenSession(b.t, b.r.R1, b.r.S0, top, side)
	}}
}

func TestSameBytesThroughPPPoE(t *testing.T) {
	compareStacks(t, datapath.HookTC, pairing{tagged(), dialled()}, pairing{dialled(), nil})
}

func TestSameBytesThroughVLANs(t *testing.T) {
	compareStacks(t, datapath.HookTC,
		pairing{tagged(), nil}, pairing{nil, doubled()}, pairing{tagged(), tagged()}, pairing{doubled(), doubled()},
		pairing{tunnel(), doubled()}, pairing{doubled(), tunnel()},
	)
}

func TestSameBytesThroughVLANsAndBridges(t *testing.T) {
	access, trunk := filtering("access port", "pvid untagged"), filtering("trunk port", "", packet.Tag{TPID: packet.EtherTypeVLAN, TCI: 30})
	compareStacks(t, datapath.HookTC,
		pairing{access, nil}, pairing{trunk, access}, pairing{tagged(), overVLAN()},
	)
}
