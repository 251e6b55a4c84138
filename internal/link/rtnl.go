package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

var errShort = errors.New("netlink message is too short")

// dumpTries bounds how often a dump is repeated that a change interrupted.
const dumpTries = 20

// dump asks rtnetlink for everything of one kind. The header is the fixed part of the request (struct ifinfomsg, ...).
func dump(c *netlink.Conn, typ uint16, header []byte) ([]netlink.Message, error) {
	for range dumpTries {
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request | netlink.Dump},
			Data:   header,
		})
		if err != nil {
			return nil, err
		}
		if !interrupted(msgs) {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("dump interrupted %d times by changes", dumpTries)
}

// interrupted reports NLM_F_DUMP_INTR: the list changed while it was read and may be inconsistent.
func interrupted(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// split separates the fixed header of n bytes from the attributes.
func split(m netlink.Message, n int) ([]byte, *netlink.AttributeDecoder, error) {
	if len(m.Data) < n {
		return nil, nil, errShort
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[n:])
	return m.Data[:n], ad, err
}

func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// A linkMsg is what one RTM_NEWLINK says, as far as we read it. It is comparable: the watcher emits a change only
// where something in it differs.
type linkMsg struct {
	ifindex       uint32
	arphrd        uint16
	flags         uint32 // IFF_*
	name          string
	kind          string // IFLA_INFO_KIND
	mac           string // raw bytes
	mtu           uint32
	lower         uint32 // IFLA_LINK, when it is in this namespace
	master        uint32
	rxQueues      uint32
	operstate     uint8
	parent        string // bus device ("0000:01:00.0", "virtio0"), since Linux 5.14
	switchID      string // of a switch's port, as sysfs has it (phys_switch_id)
	portName      string // likewise (phys_port_name)
	vlanFiltering bool   // of a bridge
	vlan          uint16 // tag of a VLAN device
	vlanProto     uint16 // and its Ethertype
	external      bool   // of a tunnel: the destination comes with each packet (collect_md)
	active        uint32 // port in use, of a bond in active-backup mode
	port          bondPort
	xdp           [3]uint32
}

// bondPort is what a bond says about one of its ports.
type bondPort struct {
	state, mii uint8
	aggregator uint16
}

// Indices of linkMsg.xdp.
const (
	xdpNative = iota
	xdpGeneric
	xdpOffload
)

func decodeLink(m netlink.Message) (linkMsg, error) {
	h, ad, err := split(m, unix.SizeofIfInfomsg)
	if err != nil {
		return linkMsg{}, err
	}
	l := linkMsg{arphrd: binary.NativeEndian.Uint16(h[2:]), ifindex: u32(h[4:]), flags: u32(h[8:])}
	foreign := false
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.name = ad.String()
		case unix.IFLA_ADDRESS:
			l.mac = string(ad.Bytes())
		case unix.IFLA_MTU:
			l.mtu = ad.Uint32()
		case unix.IFLA_LINK:
			l.lower = ad.Uint32()
		case unix.IFLA_LINK_NETNSID:
			foreign = true
		case unix.IFLA_MASTER:
			l.master = ad.Uint32()
		case unix.IFLA_NUM_RX_QUEUES:
			l.rxQueues = ad.Uint32()
		case unix.IFLA_OPERSTATE:
			l.operstate = ad.Uint8()
		case unix.IFLA_PARENT_DEV_NAME:
			l.parent = ad.String()
		case unix.IFLA_PHYS_SWITCH_ID:
			l.switchID = switchID(ad.Bytes())
		case unix.IFLA_PHYS_PORT_NAME:
			l.portName = ad.String()
		case unix.IFLA_LINKINFO:
			ad.Nested(l.linkInfo)
		case unix.IFLA_XDP:
			ad.Nested(l.xdpInfo)
		}
	}
	if foreign || l.lower == l.ifindex {
		l.lower = 0
	}
	return l, ad.Err()
}

func (l *linkMsg) linkInfo(ad *netlink.AttributeDecoder) error {
	portOf := ""
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			l.kind = ad.String()
		case unix.IFLA_INFO_DATA: // comes after the kind (rtnl_link_fill)
			ad.Nested(l.infoData)
		case unix.IFLA_INFO_SLAVE_KIND:
			portOf = ad.String()
		case unix.IFLA_INFO_SLAVE_DATA: // likewise (rtnl_link_slave_info_fill)
			if portOf == "bond" {
				ad.Nested(l.port.decode)
			}
		}
	}
	return nil
}

func (p *bondPort) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BOND_SLAVE_STATE:
			p.state = ad.Uint8()
		case unix.IFLA_BOND_SLAVE_MII_STATUS:
			p.mii = ad.Uint8()
		case unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID:
			p.aggregator = ad.Uint16()
		}
	}
	return nil
}

// Attributes that say that a tunnel takes its destination from each packet's route, by kind. x/sys has not all of them
// (include/uapi/linux/if_link.h, if_tunnel.h).
const (
	vxlanExternal  = 25 // IFLA_VXLAN_COLLECT_METADATA
	geneveExternal = 6  // IFLA_GENEVE_COLLECT_METADATA
	greExternal    = 18 // IFLA_GRE_COLLECT_METADATA
	iptunExternal  = 19 // IFLA_IPTUN_COLLECT_METADATA
)

// infoData reads what only devices of one kind have.
func (l *linkMsg) infoData(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch t := ad.Type(); l.kind {
		case "bridge":
			if t == unix.IFLA_BR_VLAN_FILTERING {
				l.vlanFiltering = ad.Uint8() != 0
			}
		case "vlan":
			switch t {
			case unix.IFLA_VLAN_ID:
				l.vlan = ad.Uint16()
			case unix.IFLA_VLAN_PROTOCOL:
				if b := ad.Bytes(); len(b) == 2 {
					l.vlanProto = binary.BigEndian.Uint16(b)
				}
			}
		case "bond":
			if t == unix.IFLA_BOND_ACTIVE_SLAVE {
				l.active = ad.Uint32()
			}
		case "vxlan":
			if t == vxlanExternal {
				l.external = ad.Uint8() != 0
			}
		case "geneve":
			l.external = l.external || t == geneveExternal
		case "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan":
			l.external = l.external || t == greExternal
		case "ipip", "ip6tnl", "sit":
			l.external = l.external || t == iptunExternal
		}
	}
	return nil
}

func (l *linkMsg) xdpInfo(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_XDP_DRV_PROG_ID:
			l.xdp[xdpNative] = ad.Uint32()
		case unix.IFLA_XDP_SKB_PROG_ID:
			l.xdp[xdpGeneric] = ad.Uint32()
		case unix.IFLA_XDP_HW_PROG_ID:
			l.xdp[xdpOffload] = ad.Uint32()
		}
	}
	return nil
}

// linkRequest is struct ifinfomsg and an IFLA_EXT_MASK that leaves the counters out.
func linkRequest() []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, unix.IFLA_EXT_MASK)
	return binary.NativeEndian.AppendUint32(b, extSkipStats)
}

// extSkipStats is RTEXT_FILTER_SKIP_STATS (include/uapi/linux/rtnetlink.h).
const extSkipStats = 1 << 3

func readLinks(c *netlink.Conn) ([]linkMsg, error) {
	msgs, err := dump(c, unix.RTM_GETLINK, linkRequest())
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make([]linkMsg, 0, len(msgs))
	for _, m := range msgs {
		l, err := decodeLink(m)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		out = append(out, l)
	}
	return out, nil
}
