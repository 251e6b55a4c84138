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
	UserOff       Code = "off-by-user"
	NoDevice      Code = "no-device"
	NotEthernet   Code = "not-ethernet"
	LoopbackDev   Code = "loopback"
	BigIfindex    Code = "ifindex-too-big"
	IsBridge      Code = "bridge"
	IsVLAN        Code = "vlan"
	IsBond        Code = "bond"
	IsStacked     Code = "stacked-device"
	IsPort        Code = "port"
	DeviceChain   Code = "netdev-chain"
	ForeignFilter Code = "foreign-tc-filter"
	XDPBusy       Code = "xdp-busy"
	AttachFailed  Code = "attach-failed"
	TCByDefault   Code = "tc-by-default"
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
		{NotEthernet, "the device does not carry Ethernet frames (tun, WireGuard, PPP, IP tunnels)"},
		{LoopbackDev, "loopback traffic is not forwarded"},
		{BigIfindex, "the flow table's key has 24 bits for the interface index"},
		{IsBridge, "the device is a bridge; bridged paths are not carried yet"},
		{IsVLAN, "the device is a VLAN; tagged paths are not carried yet"},
		{IsBond, "the device is a bond or team; these paths are not carried yet"},
		{IsStacked, "the device stands on another one (macvlan, tunnel, VRF); these paths are not carried"},
		{IsPort, "the device is a port of a bridge, bond or VRF; these paths are not carried yet"},
		{DeviceChain, "a netdev chain on the device has rules that fast packets would not pass"},
		{ForeignFilter, "somebody else's tc filter or tcx program on the device would not see fast packets"},
		{XDPBusy, "somebody else's XDP program is on the device; it is never replaced"},
		{AttachFailed, "the kernel refused the program on this device"},
		{TCByDefault, "tc is the default for this kind of device; --device DEVICE=xdp asks for XDP"},
	}
	slices.SortFunc(all, func(a, b CodeInfo) int { return cmp.Compare(a.Code, b.Code) })
	return all
}
