package caps

import "strings"

// Profile is what one driver, in one of its modes, makes of rules and flows that are handed to it. No kernel interface
// tells: the profiles were read in the driver's source. What a device says about itself (XDP, hw-tc-offload) comes
// before its profile.
type Profile struct {
	Name    string   // "mlx5-representor"
	Drivers []string // as `ethtool -i` has them, or kinds of virtual devices
	Mode    Mode
	Title   string // one line for people

	// Keys are the flower keys that the driver takes, Actions what it does with a packet that matches.
	Keys    Keys
	Actions Actions
	// Chain says whether `flags offload` of a netdev chain is of use with the driver, and WhyChain when and why not.
	Chain    Support
	WhyChain string
	// Flowtable: a flowtable may have `flags offload` with the driver (TC_SETUP_FT). Conntrack: flows of act_ct, which
	// are not those of nftables.
	Flowtable   Answer
	Conntrack   Answer
	XDP         XDP
	Conditions  []Condition
	HWTCOffload Toggle // as the driver starts

	Sources []string // files under drivers/net, unless they say otherwise
	Kernel  Version  // whose files were read
}

// Mode tells the profiles of one driver apart.
type Mode string

// The modes. Most drivers have one only, the empty one.
const (
	ModeNIC         Mode = "nic"         // legacy: the NIC's ports are no ports of a switch
	ModeUplink      Mode = "uplink"      // the wire of a NIC in switchdev mode
	ModeRepresentor Mode = "representor" // a VF's or SF's port in switchdev mode
	ModeSwitchdev   Mode = "switchdev"   // uplink and representors alike
	ModeWED         Mode = "wed"         // Wi-Fi behind a packet processor
	ModeEF10        Mode = "ef10"
	ModeEF100       Mode = "ef100"
	ModeFelix       Mode = "felix" // the ocelot switch as a DSA switch
)

// Support says how far something works.
type Support string

// How far.
const (
	SupportUnknown Support = ""
	SupportNo      Support = "no"
	SupportPartly  Support = "partly"
	SupportYes     Support = "yes"
)

// Keys is a set of flower keys (enum flow_dissector_key_id).
type Keys uint32

// The keys.
const (
	KeyControl Keys = 1 << iota // address type
	KeyBasic                    // ethertype, L4 protocol
	KeyEth                      // MAC addresses
	KeyVLAN
	KeyCVLAN
	KeyIPv4
	KeyIPv6
	KeyPorts
	KeyMeta // incoming device
	KeyTCPFlags
	KeyIP // TOS, TTL
	KeyICMP
	KeyPortRange
	KeyMPLS
	KeyTunnel // enc_*
	KeyCT
	KeyARP
	KeyPPPoE
	KeyL2TPv3
	KeyIPsec
	keyEnd
)

// Has reports whether all keys of want are in the set.
func (k Keys) Has(want Keys) bool { return k&want == want }

// List returns the keys of the set one by one, in the order of the constants.
func (k Keys) List() []Keys {
	var out []Keys
	for one := KeyControl; one < keyEnd; one <<= 1 {
		if k.Has(one) {
			out = append(out, one)
		}
	}
	return out
}

// String names the keys, with a space between two.
func (k Keys) String() string {
	names := make([]string, 0, len(k.List()))
	for _, one := range k.List() {
		names = append(names, one.name())
	}
	return strings.Join(names, " ")
}

func (k Keys) name() string {
	names := [...]string{
		"control", "basic", "eth", "vlan", "cvlan", "ipv4", "ipv6", "ports", "meta", "tcp-flags", "ip-tos-ttl", "icmp",
		"port-range", "mpls", "tunnel", "ct", "arp", "pppoe", "l2tpv3", "ipsec",
	}
	for i, n := range names {
		if k == 1<<i {
			return n
		}
	}
	return "?"
}

// Actions is a set of flower actions.
type Actions uint8

// The actions.
const (
	ActAccept Actions = 1 << iota
	ActDrop
	ActRedirect
	ActMirror
)

// Has reports whether all actions of want are in the set.
func (a Actions) Has(want Actions) bool { return a&want == want }

// String names the actions, with a space between two.
func (a Actions) String() string {
	var names []string
	for i, n := range [...]string{"accept", "drop", "redirect", "mirror"} {
		if a&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}
