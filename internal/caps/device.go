package caps

import "slices"

// Device is one network device: what it is, what it stands on, what it can do. Fields that are empty are not known,
// or the device does not have them.
type Device struct {
	Name     string `json:"name"`
	Ifindex  uint32 `json:"ifindex,omitempty"`
	Kind     string `json:"kind,omitempty"`   // "veth", "bridge", "vlan", "pppoe", ...; empty for hardware and loopback
	Driver   string `json:"driver,omitempty"` // as `ethtool -i` says: "mlx5_core"
	Firmware string `json:"firmware,omitempty"`
	Bus      string `json:"bus,omitempty"`   // of hardware: "0000:01:00.0"
	Type     string `json:"type,omitempty"`  // "ether", "loopback", "ppp", "none"
	Speed    int    `json:"speed,omitempty"` // of the link, in Mbit/s
	MAC      string `json:"mac,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Up       bool   `json:"up,omitempty"`      // switched on
	Carrier  bool   `json:"carrier,omitempty"` // and connected

	// Lower are the devices this one stands on: the one below a VLAN or PPPoE device, the ports of a bridge, the
	// members of a bond. Uppers are all above, near ones first, the master (bridge or bond) included.
	Lower  []string `json:"lower,omitempty"`
	Master string   `json:"master,omitempty"`
	Uppers []string `json:"uppers,omitempty"`
	Peer   string   `json:"peer,omitempty"` // of a veth, where it is in the same namespace
	VLAN   *VLAN    `json:"vlan,omitempty"` // of a VLAN device
	// VLANFiltering is of a bridge: its ports differ in which tags they carry.
	VLANFiltering bool   `json:"vlan-filtering,omitempty"`
	Switch        Switch `json:"switch,omitzero"`

	XDP         XDP       `json:"xdp,omitzero"`
	HWTCOffload Toggle    `json:"hw-tc-offload,omitempty"`
	RxVLAN      Toggle    `json:"rx-vlan-offload,omitempty"`
	LRO         Toggle    `json:"lro,omitempty"`
	Ntuple      Toggle    `json:"ntuple,omitempty"` // filters of `ethtool -N`
	Eswitch     Eswitch   `json:"eswitch,omitempty"`
	Qdisc       Qdisc     `json:"qdisc,omitzero"`
	XDPPrograms []Program `json:"xdp-programs,omitempty"` // of others
	Filters     []Filter  `json:"filters,omitempty"`      // of others, on the tc hooks
	Queues      Queues    `json:"queues,omitzero"`
	Rings       Rings     `json:"rings,omitzero"`

	// Profile names the driver profile to plan with; empty: the one that fits driver and mode.
	Profile string `json:"profile,omitempty"`
}

// VLAN is the tag of a VLAN device.
type VLAN struct {
	ID       int    `json:"id"`
	Protocol string `json:"protocol"` // "802.1Q" or "802.1ad"
}

// Switch is a device's place in a switch: port of a DSA switch, or port of a NIC's embedded switch.
type Switch struct {
	Role     Role   `json:"role,omitempty"`
	Conduit  string `json:"conduit,omitempty"`   // of a DSA port: the SoC's device that its frames take
	ID       string `json:"id,omitempty"`        // phys_switch_id: ports with the same one are of one switch
	PortName string `json:"port-name,omitempty"` // phys_port_name: "p0", "pf0vf3"
}

// Role says what a port of a switch is.
type Role string

// The roles. The empty one: no port of a switch.
const (
	RoleDSAPort     Role = "dsa-port"
	RoleConduit     Role = "dsa-conduit"
	RoleUplink      Role = "uplink"      // the wire of an embedded switch
	RoleRepresentor Role = "representor" // stands for a VF, SF or PF behind the embedded switch
	RoleSwitchPort  Role = "switch-port" // has a switch id and no telling name
)

// Roles lists all roles.
func Roles() []Role {
	return []Role{RoleDSAPort, RoleConduit, RoleUplink, RoleRepresentor, RoleSwitchPort}
}

// XDP is what a driver says it does with XDP.
type XDP struct {
	Known    bool         `json:"known"` // false before Linux 6.3: the kernel does not say
	Features []XDPFeature `json:"features,omitempty"`
}

// Has says whether the driver has all of the features.
func (x XDP) Has(want ...XDPFeature) Answer {
	if !x.Known {
		return Unknown
	}
	for _, f := range want {
		if !slices.Contains(x.Features, f) {
			return No
		}
	}
	return Yes
}

// XDPFeature is a bit of enum netdev_xdp_act.
type XDPFeature string

// The features.
const (
	XDPBasic     XDPFeature = "basic"       // native XDP: DROP, PASS, TX
	XDPRedirect  XDPFeature = "redirect"    // may redirect to others
	XDPNdoXmit   XDPFeature = "ndo-xmit"    // others may redirect to it
	XDPZeroCopy  XDPFeature = "xsk-zc"      // AF_XDP without copies
	XDPHWOffload XDPFeature = "hw-offload"  // programs run on the NIC
	XDPRxSG      XDPFeature = "rx-sg"       // frames of several buffers
	XDPNdoXmitSG XDPFeature = "ndo-xmit-sg" // takes them as redirects, too
)

// XDPFeatures lists all features in the order of the kernel's bits.
func XDPFeatures() []XDPFeature {
	return []XDPFeature{XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy, XDPHWOffload, XDPRxSG, XDPNdoXmitSG}
}

// Toggle is the state of a device feature as `ethtool -k` shows it. The empty one: not known, or the driver has no
// such feature.
type Toggle string

// The states.
const (
	On       Toggle = "on"
	Off      Toggle = "off"
	OnFixed  Toggle = "on [fixed]"
	OffFixed Toggle = "off [fixed]"
)

// Toggles lists all states.
func Toggles() []Toggle { return []Toggle{On, Off, OnFixed, OffFixed} }

// On says whether the feature is switched on.
func (t Toggle) On() Answer {
	switch t {
	case On, OnFixed:
		return Yes
	case Off, OffFixed:
		return No
	}
	return Unknown
}

// Fixed reports whether it cannot be changed.
func (t Toggle) Fixed() bool { return t == OnFixed || t == OffFixed }

// Eswitch is the mode of a NIC's embedded switch (devlink-dev(8)); empty for a NIC without one.
type Eswitch string

// The modes.
const (
	EswitchLegacy    Eswitch = "legacy"
	EswitchSwitchdev Eswitch = "switchdev"
	EswitchInactive  Eswitch = "switchdev_inactive"
)

// Eswitches lists all modes.
func Eswitches() []Eswitch { return []Eswitch{EswitchLegacy, EswitchSwitchdev, EswitchInactive} }

// Qdisc is what stands between a device and the packets sent to it.
type Qdisc struct {
	Root   string `json:"root,omitempty"`   // kind of the root qdisc
	Shaper string `json:"shaper,omitempty"` // kind of the one, the root or below it, that limits, delays or prefers
}

// Shapes reports whether packets that go round the qdisc escape a limit.
func (q Qdisc) Shapes() bool { return q.Shaper != "" }

// Program is an XDP program that somebody else attached.
type Program struct {
	ID   uint32 `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Mode string `json:"mode"` // "native", "generic", "offload"
}

// Filter is a tc filter or tcx program of somebody else.
type Filter struct {
	Egress bool   `json:"egress,omitempty"`
	Text   string `json:"text"` // as tc(8) would be asked for it
}

// Queues are the queues of a device: how many are in use, how many there may be.
type Queues struct {
	Rx          int `json:"rx,omitempty"`
	Tx          int `json:"tx,omitempty"`
	Combined    int `json:"combined,omitempty"`
	MaxRx       int `json:"max-rx,omitempty"`
	MaxTx       int `json:"max-tx,omitempty"`
	MaxCombined int `json:"max-combined,omitempty"`
}

// Rings are the descriptors of each queue.
type Rings struct {
	Rx    int `json:"rx,omitempty"`
	Tx    int `json:"tx,omitempty"`
	MaxRx int `json:"max-rx,omitempty"`
	MaxTx int `json:"max-tx,omitempty"`
}
