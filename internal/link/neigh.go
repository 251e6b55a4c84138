package link

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// neighbors remembers link-layer addresses, so that only real changes become events. A neighbor goes through
// REACHABLE, STALE, DELAY and PROBE all day with one address; the datapath does not care.
type neighbors struct {
	ip  map[neighKey]neighbor
	fdb map[fdbKey]uint32 // bridge port
}

type neighKey struct {
	ifindex uint32
	ip      netip.Addr
}

type neighbor struct {
	mac    string // raw bytes; the last valid one
	failed bool
}

type fdbKey struct {
	bridge uint32
	vlan   uint16
	mac    string
}

func newNeighbors() *neighbors {
	return &neighbors{ip: map[neighKey]neighbor{}, fdb: map[fdbKey]uint32{}}
}

// neighMsg is one RTM_NEWNEIGH or RTM_DELNEIGH.
type neighMsg struct {
	family  uint8
	ifindex uint32
	state   uint16
	ip      netip.Addr
	mac     string
	vlan    uint16
	bridge  uint32
	deleted bool
}

func decodeNeigh(m netlink.Message) (neighMsg, error) {
	h, ad, err := split(m, unix.SizeofNdMsg)
	if err != nil {
		return neighMsg{}, err
	}
	n := neighMsg{
		family: h[0], ifindex: u32(h[4:]), state: binary.NativeEndian.Uint16(h[8:]),
		deleted: m.Header.Type == unix.RTM_DELNEIGH,
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NDA_DST:
			n.ip, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			n.mac = string(ad.Bytes())
		case unix.NDA_VLAN:
			n.vlan = ad.Uint16()
		case unix.NDA_MASTER:
			n.bridge = ad.Uint32()
		}
	}
	return n, ad.Err()
}

// update takes a message in and returns the event it amounts to, if any.
func (c *neighbors) update(n neighMsg) (Event, bool) {
	switch {
	case n.family == unix.AF_BRIDGE:
		return c.updateFDB(n)
	case n.family != unix.AF_INET && n.family != unix.AF_INET6 || !n.ip.IsValid():
		return Event{}, false
	}
	key := neighKey{n.ifindex, n.ip}
	old, known := c.ip[key]
	e := Event{Kind: NeighChanged, Ifindex: n.ifindex, IP: n.ip, State: n.state, Old: net.HardwareAddr(old.mac)}
	switch {
	case n.deleted:
		delete(c.ip, key)
		e.Gone = true
		return e, known && !old.failed
	case n.state&unix.NUD_FAILED != 0:
		if !known || old.failed {
			return Event{}, false
		}
		c.ip[key] = neighbor{mac: old.mac, failed: true}
		e.Failed = true
		return e, true
	case n.mac == "" || n.state&unix.NUD_INCOMPLETE != 0:
		return Event{}, false // being asked for; nothing is known yet
	}
	c.ip[key] = neighbor{mac: n.mac}
	e.New = net.HardwareAddr(n.mac)
	return e, known && old.mac != n.mac
}

func (c *neighbors) updateFDB(n neighMsg) (Event, bool) {
	if n.mac == "" || n.bridge == 0 { // entries of vxlan and of devices outside a bridge
		return Event{}, false
	}
	key := fdbKey{n.bridge, n.vlan, n.mac}
	old := c.fdb[key]
	e := Event{
		Kind: FDBChanged, Ifindex: n.ifindex, Bridge: n.bridge, VLAN: n.vlan, OldPort: old,
		Old: net.HardwareAddr(n.mac), State: n.state, Gone: n.deleted,
	}
	if n.deleted {
		// A move can be announced as "new here" before "gone there".
		if old != n.ifindex {
			return Event{}, false
		}
		delete(c.fdb, key)
		return e, true
	}
	c.fdb[key] = n.ifindex
	return e, old != n.ifindex
}

// prime reads all neighbors and forwarding entries.
func (c *neighbors) prime(conn *netlink.Conn) error {
	for _, family := range []uint8{unix.AF_UNSPEC, unix.AF_BRIDGE} {
		header := make([]byte, unix.SizeofNdMsg)
		header[0] = family
		msgs, err := dump(conn, unix.RTM_GETNEIGH, header)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			n, err := decodeNeigh(m)
			if err != nil {
				return err
			}
			c.update(n)
		}
	}
	return nil
}
