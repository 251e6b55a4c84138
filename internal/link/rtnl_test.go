package link

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkBytes builds an RTM_NEWLINK of the kind; data are the attributes of IFLA_INFO_DATA, port those of a bond's port.
func linkBytes(t *testing.T, kind string, flags uint32, data, port func(*netlink.AttributeEncoder)) netlink.Message {
	t.Helper()
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], 7) // ifindex
	e := netlink.NewAttributeEncoder()
	e.String(unix.IFLA_IFNAME, "x0")
	e.Nested(unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) error {
		e.String(unix.IFLA_INFO_KIND, kind)
		if data != nil {
			e.Nested(unix.IFLA_INFO_DATA, func(e *netlink.AttributeEncoder) error { data(e); return nil })
		}
		if port != nil {
			e.String(unix.IFLA_INFO_SLAVE_KIND, "bond")
			e.Nested(unix.IFLA_INFO_SLAVE_DATA, func(e *netlink.AttributeEncoder) error { port(e); return nil })
		}
		return nil
	})
	if flags != 0 {
		e.Uint32(unix.IFLA_EVENT, flags)
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: append(header, b...)}
}

func TestLinkOfAKindThisMachineLacks(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		data func(*netlink.AttributeEncoder)
		want linkMsg
	}{
		"vlan": {"vlan", func(e *netlink.AttributeEncoder) {
			e.Uint16(unix.IFLA_VLAN_ID, 10)
			e.Bytes(unix.IFLA_VLAN_PROTOCOL, []byte{0x88, 0xa8})
		}, linkMsg{vlan: 10, vlanProto: 0x88a8}},
		"vlan with half a protocol": {"vlan", func(e *netlink.AttributeEncoder) {
			e.Uint16(unix.IFLA_VLAN_ID, 10)
			e.Bytes(unix.IFLA_VLAN_PROTOCOL, []byte{0x81})
		}, linkMsg{vlan: 10}},
		"bridge":         {"bridge", func(e *netlink.AttributeEncoder) { e.Uint8(unix.IFLA_BR_VLAN_FILTERING, 1) }, linkMsg{vlanFiltering: true}},
		"bond":           {"bond", func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_BOND_ACTIVE_SLAVE, 3) }, linkMsg{active: 3}},
		"vxlan":          {"vxlan", func(e *netlink.AttributeEncoder) { e.Uint8(vxlanExternal, 0) }, linkMsg{}},
		"vxlan external": {"vxlan", func(e *netlink.AttributeEncoder) { e.Uint8(vxlanExternal, 1) }, linkMsg{external: true}},
		"geneve":         {"geneve", func(e *netlink.AttributeEncoder) { e.Bytes(geneveExternal, nil) }, linkMsg{external: true}},
		"gretap":         {"gretap", func(e *netlink.AttributeEncoder) { e.Bytes(greExternal, nil) }, linkMsg{external: true}},
		"ip6tnl":         {"ip6tnl", func(e *netlink.AttributeEncoder) { e.Bytes(iptunExternal, nil) }, linkMsg{external: true}},
		// The same numbers mean other things elsewhere.
		"macvlan": {"macvlan", func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_VLAN_ID, 1); e.Bytes(geneveExternal, nil) }, linkMsg{}},
	} {
		c.want.ifindex, c.want.name, c.want.kind = 7, "x0", c.kind
		got, err := decodeLink(linkBytes(t, c.kind, 0, c.data, nil))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

func TestLinkMessagesThatMatter(t *testing.T) {
	bond := func(active uint32) func(*netlink.AttributeEncoder) {
		return func(e *netlink.AttributeEncoder) { e.Uint32(unix.IFLA_BOND_ACTIVE_SLAVE, active) }
	}
	port := func(state, mii uint8, aggregator uint16) func(*netlink.AttributeEncoder) {
		return func(e *netlink.AttributeEncoder) {
			e.Uint8(unix.IFLA_BOND_SLAVE_STATE, state)
			e.Uint8(unix.IFLA_BOND_SLAVE_MII_STATUS, mii)
			e.Uint16(unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID, aggregator)
		}
	}
	vlan := func(id uint16) func(*netlink.AttributeEncoder) {
		return func(e *netlink.AttributeEncoder) { e.Uint16(unix.IFLA_VLAN_ID, id) }
	}
	for name, c := range map[string]struct {
		before, after netlink.Message
		want          bool
	}{
		"the same again":               {linkBytes(t, "bond", 0, bond(3), nil), linkBytes(t, "bond", 0, bond(3), nil), false},
		"another active port":          {linkBytes(t, "bond", 0, bond(3), nil), linkBytes(t, "bond", 0, bond(4), nil), true},
		"no active port":               {linkBytes(t, "bond", 0, bond(3), nil), linkBytes(t, "bond", 0, nil, nil), true},
		"failover that says no more":   {linkBytes(t, "bond", 0, nil, nil), linkBytes(t, "bond", unix.IFLA_EVENT_BONDING_FAILOVER, nil, nil), true},
		"other bond options":           {linkBytes(t, "bond", 0, nil, nil), linkBytes(t, "bond", unix.IFLA_EVENT_BONDING_OPTIONS, nil, nil), true},
		"neighbours told about it":     {linkBytes(t, "bond", 0, nil, nil), linkBytes(t, "bond", unix.IFLA_EVENT_NOTIFY_PEERS, nil, nil), false},
		"port in backup":               {linkBytes(t, "", 0, nil, port(0, 0, 1)), linkBytes(t, "", 0, nil, port(1, 0, 1)), true},
		"port without link":            {linkBytes(t, "", 0, nil, port(0, 0, 1)), linkBytes(t, "", 0, nil, port(0, 2, 1)), true},
		"port in another aggregator":   {linkBytes(t, "", 0, nil, port(0, 0, 1)), linkBytes(t, "", 0, nil, port(0, 0, 2)), true},
		"vlan made again with its tag": {linkBytes(t, "vlan", 0, vlan(1), nil), linkBytes(t, "vlan", 0, vlan(2), nil), true},
	} {
		w := &watcher{links: map[uint32]linkMsg{}, neigh: newNeighbors()}
		if e, ok, err := w.event(c.before); !ok || err != nil || e.Kind != LinkChanged {
			t.Errorf("%s: new device: %s, %v, %v", name, e, ok, err)
		}
		if e, ok, err := w.event(c.after); ok != c.want || err != nil {
			t.Errorf("%s: %s, %v, %v", name, e, ok, err)
		}
	}
}

func TestVLANOfABridgePortIsAnEvent(t *testing.T) {
	w := &watcher{links: map[uint32]linkMsg{}, neigh: newNeighbors()}
	data := make([]byte, sizeofBrVLANMsg)
	data[0], data[4] = unix.AF_BRIDGE, 7
	m := netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWVLAN}, Data: data}
	if e, ok, err := w.event(m); !ok || err != nil || e.Kind != PortChanged || e.Ifindex != u32(data[4:]) {
		t.Errorf("%s, %v, %v", e, ok, err)
	}
	m.Data = data[:4]
	if _, _, err := w.event(m); err == nil {
		t.Error("a short message was read")
	}
}
