package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// Device is one network device and what stands on it.
type Device struct {
	Ifindex  uint32
	Name     string
	ARPHRD   uint16 // ARPHRD_ETHER is 1, ARPHRD_LOOPBACK 772, ARPHRD_PPP 512
	Kind     string // "veth", "bridge", "vlan", ...; empty for hardware and loopback
	Driver   string // "veth", "virtio_net", "ixgbe", ...; empty when the driver does not tell
	Parent   string // bus device of hardware ("0000:01:00.0", "virtio0"); needs Linux 5.14
	SwitchID string // of a switch's port: the same for all ports of the switch (phys_switch_id)
	PortName string // its name there (phys_port_name): "p0", "pf0vf3"
	MAC      net.HardwareAddr
	MTU      uint32
	Up       bool // switched on (IFF_UP)
	Running  bool // and has a carrier (IFF_RUNNING)
	RxQueues uint32
	Lower    uint32 // ifindex of the device below (vlan, macvlan) or of a veth's peer, when it is in this namespace
	// PointToPoint (IFF_POINTOPOINT): all packets go to one other end. A tunnel without it asks each packet's route.
	PointToPoint bool
	External     bool   // a tunnel that takes each packet's destination from its route (collect_md)
	VLAN         uint16 // tag of a VLAN device
	VLANProtocol uint16 // its Ethertype, 0x8100 or 0x88a8
	// VLANFiltering is of a bridge: it looks at tags, and ports differ in which they carry.
	VLANFiltering bool
	Master        *Upper  // bridge or bond this device is a port of
	Uppers        []Upper // every device above, the master included, near ones first
	XDP           XDPFeatures
	// Programs and filters that are not ours.
	ForeignXDP     []XDPProgram
	ForeignFilters []Filter
	Qdisc          Qdisc
	// Features by the kernel's name; those the driver does not have are missing.
	Features map[string]Feature
}

// Upper is a device that stands on another.
type Upper struct {
	Ifindex       uint32
	Name          string
	Kind          string
	VLANFiltering bool // of a bridge
}

// Virtual reports whether no hardware is behind the device.
func (d Device) Virtual() bool { return d.Parent == "" || d.Kind != "" }

// Below is the ifindex of the device this one stands on; 0 for none, and where that is in another namespace.
func (d Device) Below() uint32 {
	if stacks(d.Kind) {
		return d.Lower
	}
	return 0
}

// Devices reads all devices of the namespace, lowest ifindex first. A device that goes away meanwhile is left out or
// incomplete.
func (h *Handle) Devices(ctx context.Context) ([]Device, error) {
	links, err := readLinks(h.rt)
	if err != nil {
		return nil, err
	}
	qdiscs, err := readQdiscs(h.rt)
	if err != nil {
		return nil, err
	}
	features, err := h.xdpFeatures()
	if err != nil {
		return nil, err
	}
	names := make(map[uint32]string, len(links))
	for _, l := range links {
		names[l.ifindex] = l.name
	}
	stand := newTree(links)
	out := make([]Device, 0, len(links))
	for _, l := range links {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := l.device()
		d.Driver = h.driver(l.name)
		d.Features, _ = h.features(l.name) // a device without ethtool has none
		d.Qdisc = qdiscs[l.ifindex].egress
		d.Uppers = stand.uppers(l)
		if len(d.Uppers) > 0 && d.Uppers[0].Ifindex == l.master {
			d.Master = &d.Uppers[0]
		}
		if bits, ok := features[l.ifindex]; ok {
			d.XDP = XDPFeatures{Known: true, Bits: bits}
		}
		if d.ForeignFilters, err = h.filters(l.ifindex, qdiscs[l.ifindex]); err != nil {
			return nil, err
		}
		for i, f := range d.ForeignFilters {
			if f.Action != "" {
				d.ForeignFilters[i].ToName = cmp.Or(names[f.To], fmt.Sprintf("device %d", f.To))
			}
		}
		d.ForeignXDP = foreignXDP(l.xdp)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Device) int { return int(a.Ifindex) - int(b.Ifindex) })
	return out, h.addTCX(out)
}

func (l linkMsg) device() Device {
	return Device{
		Ifindex: l.ifindex, Name: l.name, ARPHRD: l.arphrd, Kind: l.kind, Parent: l.parent,
		SwitchID: l.switchID, PortName: l.portName,
		MAC: net.HardwareAddr(l.mac), MTU: l.mtu, Up: l.flags&unix.IFF_UP != 0, Running: l.flags&unix.IFF_RUNNING != 0,
		RxQueues: l.rxQueues, Lower: l.lower, PointToPoint: l.flags&unix.IFF_POINTOPOINT != 0, External: l.external,
		VLAN: l.vlan, VLANProtocol: l.vlanProto, VLANFiltering: l.vlanFiltering,
	}
}

// tree is what stands on what.
type tree struct {
	links map[uint32]linkMsg
	on    map[uint32][]uint32 // devices that name this one as the one below them
}

func newTree(links []linkMsg) tree {
	t := tree{links: make(map[uint32]linkMsg, len(links)), on: map[uint32][]uint32{}}
	for _, l := range links {
		t.links[l.ifindex] = l
		if l.lower != 0 && stacks(l.kind) {
			t.on[l.lower] = append(t.on[l.lower], l.ifindex)
		}
	}
	return t
}

// uppers walks up from a device: its master, then the devices that stand on it, and from these on.
func (t tree) uppers(from linkMsg) []Upper {
	var out []Upper
	seen := map[uint32]bool{0: true, from.ifindex: true}
	for queue := []uint32{from.ifindex}; len(queue) > 0; queue = queue[1:] {
		l := t.links[queue[0]]
		for _, i := range append([]uint32{l.master}, t.on[l.ifindex]...) {
			u, exists := t.links[i]
			if !exists || seen[i] {
				continue
			}
			seen[i] = true
			queue = append(queue, i)
			out = append(out, Upper{Ifindex: u.ifindex, Name: u.name, Kind: u.kind, VLANFiltering: u.vlanFiltering})
		}
	}
	return out
}

// stacks says for which kinds IFLA_LINK names the device below. For a veth it is the peer, for tunnels the device
// that the outer packets happen to take.
func stacks(kind string) bool {
	switch kind {
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "rmnet", "dsa":
		return true
	}
	return false
}

// filters lists the foreign clsact and ingress filters of a device with these qdiscs, and those of its egress qdiscs
// that a fast packet would pass in vain.
func (h *Handle) filters(ifindex uint32, q qdiscs) ([]Filter, error) {
	parents := q.handles
	switch q.ingress {
	case "clsact":
		parents = append(parents, tcClsactIngress, tcClsactEgress)
	case "ingress":
		parents = append(parents, tcIngress)
	}
	var out []Filter
	for _, p := range parents {
		fs, err := readFilters(h.rt, ifindex, p)
		switch {
		case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL):
			continue // the device or its qdisc went away
		case err != nil:
			return nil, err
		}
		out = append(out, fs...)
	}
	return out, nil
}

func (h *Handle) addTCX(devices []Device) error {
	return h.inside(func() error {
		for i := range devices {
			fs, err := foreignTCX(devices[i].Ifindex)
			if err != nil {
				return err
			}
			devices[i].ForeignFilters = append(devices[i].ForeignFilters, fs...)
		}
		return nil
	})
}
