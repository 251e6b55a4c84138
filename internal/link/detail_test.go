package link

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestDetailOfAVeth(t *testing.T) {
	p := newPair(t)
	p.router.Script("ip link set r0 up")
	d := p.h.Detail("r0")
	// veth answers 10 Gbit/s whatever it does (veth_get_link_ksettings), may have a queue for each CPU, and has no rings.
	if d.Speed != 10000 || d.Channels.Rx != 1 || d.Channels.Tx != 1 || d.Channels.MaxRx < 1 || d.Rings != (Rings{}) {
		t.Errorf("%+v", d)
	}
	if d := p.h.Detail("no-such-device"); d != (Detail{}) {
		t.Errorf("of a device that is not there: %+v", d)
	}
}

func TestDevlinkOfANamespaceWithoutIsEmpty(t *testing.T) {
	p := newPair(t)
	d, err := p.h.Devlink()
	if err != nil || len(d.Eswitch) != 0 || len(d.Flavour) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDecodeDevlinkReadsPortsAndModes(t *testing.T) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.DEVLINK_ATTR_BUS_NAME, "pci")
	ae.String(unix.DEVLINK_ATTR_DEV_NAME, "0000:01:00.0")
	ae.Uint32(unix.DEVLINK_ATTR_PORT_NETDEV_IFINDEX, 7)
	ae.Uint16(unix.DEVLINK_ATTR_PORT_FLAVOUR, uint16(FlavourVF))
	ae.Uint16(unix.DEVLINK_ATTR_ESWITCH_MODE, 1)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	o, err := decodeDevlink(b)
	want := devlinkObject{bus: "pci", device: "0000:01:00.0", ifindex: 7, flavour: FlavourVF, mode: 1, hasMode: true}
	if err != nil || o != want || !o.flavour.Representor() || eswitchMode(o.mode) != "switchdev" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := decodeDevlink(b[:len(b)-3]); err == nil {
		t.Error("a truncated message has no error")
	}
}

func TestLinkTellsWhichSwitchItIsAPortOf(t *testing.T) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.IFLA_PHYS_SWITCH_ID, []byte{0x0a, 0x0b})
	ae.String(unix.IFLA_PHYS_PORT_NAME, "pf0vf3")
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	l, err := decodeLink(netlink.Message{Data: append(make([]byte, unix.SizeofIfInfomsg), b...)})
	if err != nil || l.device().SwitchID != "0a0b" || l.device().PortName != "pf0vf3" {
		t.Errorf("%+v, %v", l, err)
	}
}
