package engine

import (
	"cmp"
	"fmt"
	"slices"
)

// Code names a reason for good: programs may rely on it.
type Code string

// Why a device is not used, or not at XDP. Packages below add codes of their own that begin with "xdp-".
const (
	UserOff        Code = "off-by-user"
	NoDevice       Code = "no-device"
	NotEthernet    Code = "not-ethernet"
	LoopbackDev    Code = "loopback"
	BigIfindex     Code = "ifindex-too-big"
	IsVRF          Code = "vrf"
	IsStacked      Code = "stacked-device"
	IsPort         Code = "port"
	NoPort         Code = "no-port"
	NotListed      Code = "not-listed"
	TooManyTags    Code = "too-many-tags"
	LowerElsewhere Code = "lower-elsewhere"
	IPsecDevice    Code = "ipsec-device"
	ExternalTunnel Code = "external-tunnel"
	NoRemote       Code = "no-remote"
	DeviceChain    Code = "netdev-chain"
	BridgeChain    Code = "bridge-chain"
	ForeignFilter  Code = "foreign-tc-filter"
	ForeignXDP     Code = "foreign-xdp-above"
	QdiscAbove     Code = "qdisc-above"
	XDPBusy        Code = "xdp-busy"
	AttachFailed   Code = "attach-failed"
	TCByDefault    Code = "tc-by-default"
	TCOnly         Code = "tc-only"
)

// Reason is why something is not possible, and what to do about it. The zero Reason: it is possible.
type Reason struct {
	Code   Code   `json:"code"`
	Text   string `json:"text"`             // a sentence
	Advice string `json:"advice,omitempty"` // what to do; empty when nothing helps
}

// OK reports whether nothing is in the way.
func (r Reason) OK() bool { return r.Code == "" }

// Error renders the reason as an error text: what is wrong, and what to do.
func (r Reason) Error() string {
	if r.Advice == "" {
		return r.Text
	}
	return fmt.Sprintf("%s; %s", r.Text, r.Advice)
}

// CodeInfo explains a code for the documentation.
type CodeInfo struct {
	Code Code
	Text string
}

// Codes lists the codes of this package, in order of their names.
func Codes() []CodeInfo {
	all := []CodeInfo{
		{UserOff, "--device DEVICE=off"},
		{NoDevice, "a flowtable lists a device that does not exist now; it is taken up when it appears"},
		{NotEthernet, "the device carries neither Ethernet frames nor, as far as is known, bare IP packets"},
		{LoopbackDev, "loopback traffic is not forwarded"},
		{BigIfindex, "the flow table's key has 24 bits for the interface index"},
		{IsVRF, "a flowtable lists a VRF: packets are looked up on its members, which have to be listed"},
		{IsStacked, "the device stands on another one in a way that is not carried (ipvlan, MACsec, a macvlan on a device that is used itself)"},
		{IsPort, "the device is a port of a bond, a team or a switch, where its packets are looked up"},
		{NoPort, "the bridge has no ports"},
		{NotListed, "packets of a bridge come in by listed ports and by others that are used for another reason"},
		{TooManyTags, "packets carry more than two VLAN tags"},
		{LowerElsewhere, "the device below the VLAN is in another network namespace"},
		{IPsecDevice, "the device stands for IPsec policies (vti, xfrm)"},
		{ExternalTunnel, "the tunnel takes each packet's destination from its route (external)"},
		{NoRemote, "the tunnel has no fixed remote end"},
		{DeviceChain, "a netdev chain on the device, or on one below it, has rules that fast packets would not pass"},
		{BridgeChain, "a chain of family bridge has rules that fast packets would not pass"},
		{ForeignFilter, "somebody else's tc filter or tcx program on the device, or on one below it, would not see fast packets"},
		{ForeignXDP, "somebody else's XDP program is on a device above the one where packets are looked up"},
		{QdiscAbove, "a VLAN or bridge has a qdisc that fast packets, sent to the device below, would not pass"},
		{XDPBusy, "somebody else's XDP program is on the device; it is never replaced"},
		{AttachFailed, "the kernel refused the program on this device"},
		{TCByDefault, "tc is the default for this kind of device; --device DEVICE=xdp asks for XDP"},
		{TCOnly, "XDP is not used on this kind of device"},
	}
	slices.SortFunc(all, func(a, b CodeInfo) int { return cmp.Compare(a.Code, b.Code) })
	return all
}
