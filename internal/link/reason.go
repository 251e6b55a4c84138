package link

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Reason is why something is not possible, and what to do about it, in words of the device at hand. The zero Reason says that it is possible.
type Reason struct {
	Code reason.Reason
	Text string // a sentence
	Fix  string // what to do; empty when nothing helps
}

// OK reports whether there is nothing in the way.
func (r Reason) OK() bool { return r.Code == reason.None }

// String renders the reason as "code: sentence (what to do)".
func (r Reason) String() string {
	switch {
	case r.OK():
		return "ok"
	case r.Fix == "":
		return fmt.Sprintf("%s: %s", r.Code, r.Text)
	}
	return fmt.Sprintf("%s: %s (%s)", r.Code, r.Text, r.Fix)
}

// XDPCapable says whether frames that arrive on the device may be looked up by a native XDP program without changing
// what happens to any of them. It asks for safety only: on veth XDP is safe where this says so, yet slower for TCP
// than tc. Where the kernel does not tell what the driver can do (before Linux 6.3), attaching will.
func (d Device) XDPCapable() Reason {
	if d.ARPHRD != unix.ARPHRD_ETHER {
		return Reason{reason.XDPNotEthernet, fmt.Sprintf("%s does not carry Ethernet frames", d.Name), ""}
	}
	if d.Kind != "veth" && d.Virtual() {
		kind := d.Kind
		if kind == "" {
			kind = "virtual"
		}
		return Reason{reason.XDPNotPhysical, fmt.Sprintf("%s is a %s device: its frames come from another device or from a program", d.Name, kind), "use the tc hook"}
	}
	for _, u := range d.Uppers {
		if u.Kind == "dsa" {
			return Reason{reason.XDPNotPhysical, fmt.Sprintf("%s carries the frames of the switch port %s, with the switch's own tags", d.Name, u.Name), "use the tc hook"}
		}
	}
	if d.XDP.Known && !d.XDP.Has(XDPBasic|XDPRedirect) {
		return Reason{reason.XDPNotSupported, fmt.Sprintf("driver %s of %s has no native XDP with redirect in its present configuration", d.driver(), d.Name), "use the tc hook"}
	}
	if len(d.ForeignXDP) > 0 {
		p := d.ForeignXDP[0]
		return Reason{reason.XDPForeignProgram, fmt.Sprintf("%s runs the %s of somebody else", d.Name, p), fmt.Sprintf("ip link set dev %s xdp off, or use the tc hook", d.Name)}
	}
	if d.Kind == "veth" {
		if r := d.tagsAbove(); !r.OK() {
			return r
		}
	}
	if f := d.Features[RxVLAN]; f.On && d.Kind != "veth" {
		text := fmt.Sprintf("%s takes VLAN tags off frames before XDP sees them", d.Name)
		if f.Fixed {
			return Reason{reason.XDPRxVLANFixed, text + " and cannot be told not to", "use the tc hook"}
		}
		return Reason{reason.XDPRxVLANOn, text, fmt.Sprintf("ethtool -K %s rxvlan off", d.Name)}
	}
	if d.Features[LRO].On {
		return Reason{reason.XDPLROOn, fmt.Sprintf("%s merges received frames in hardware", d.Name), fmt.Sprintf("ethtool -K %s lro off", d.Name)}
	}
	return Reason{}
}

// tagsAbove refuses a veth on which tagged frames mean something: its peer keeps the tag outside the frame, where
// XDP cannot see it, and no setting of this end changes that.
func (d Device) tagsAbove() Reason {
	for _, u := range d.Uppers {
		if u.Kind == "vlan" {
			return Reason{reason.XDPVLANAbove, fmt.Sprintf("VLAN device %s is above %s, and XDP does not see the tags of a veth", u.Name, d.Name), "use the tc hook"}
		}
		if u.VLANFiltering {
			return Reason{reason.XDPVLANAbove, fmt.Sprintf("bridge %s above %s filters VLANs, and XDP does not see the tags of a veth", u.Name, d.Name), "use the tc hook"}
		}
	}
	return Reason{}
}

// XDPTarget says whether frames may leave by the device as XDP redirects: the driver takes them, and they escape no
// limit that the egress qdisc sets. A veth that says yes has a peer that takes frames in.
func (d Device) XDPTarget() Reason {
	switch {
	case d.ARPHRD != unix.ARPHRD_ETHER:
		return Reason{reason.XDPNotEthernet, fmt.Sprintf("%s does not carry Ethernet frames", d.Name), ""}
	case d.Qdisc.Shapes():
		return Reason{reason.XDPQdiscShapes, fmt.Sprintf("the %s qdisc of %s shapes, and XDP redirects go round it", d.Qdisc.Shaper, d.Name), "use the tc hook"}
	case !d.XDP.Known:
		return Reason{reason.XDPTargetUnknown, fmt.Sprintf("this kernel does not say whether %s takes XDP redirects", d.Name), "use the tc hook, or Linux 6.3 or later"}
	case d.XDP.Has(XDPNdoXmit):
		return Reason{}
	case d.Kind == "veth":
		return Reason{reason.XDPTargetNotSupported, fmt.Sprintf("the peer of %s does not take XDP redirects in", d.Name), "ethtool -K PEER gro on, or use the tc hook"}
	}
	return Reason{reason.XDPTargetNotSupported, fmt.Sprintf("driver %s of %s does not take XDP redirects in its present configuration", d.driver(), d.Name), "use the tc hook"}
}

func (d Device) driver() string {
	if d.Driver == "" {
		return "(unknown)"
	}
	return d.Driver
}
