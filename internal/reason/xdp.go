package reason

// Why a device's frames are not looked up at XDP, or not sent by XDP.
const (
	XDPNotEthernet Reason = firstXDP + iota
	XDPNotPhysical
	XDPNotSupported
	XDPForeignProgram
	XDPVLANAbove
	XDPRxVLANOn
	XDPRxVLANFixed
	XDPLROOn
	XDPTargetUnknown
	XDPTargetNotSupported
	XDPQdiscShapes
)

const firstCarried = XDPQdiscShapes + 1

func xdpInfo(r Reason) Info {
	const features = "include/uapi/linux/netdev.h enum netdev_xdp_act"
	switch r {
	case XDPNotEthernet:
		return Info{"xdp-not-ethernet", "the device does not carry Ethernet frames", "nothing", "net/core/dev.c bpf_prog_run_generic_xdp", ""}
	case XDPNotPhysical:
		return Info{"xdp-not-physical", "the device's frames come from another device or from a program", "use the tc hook", "design of nft-offload", ""}
	case XDPNotSupported:
		return Info{"xdp-not-supported", "the driver has no native XDP with redirect in its present configuration", "use the tc hook", features, ""}
	case XDPForeignProgram:
		return Info{"xdp-foreign-program", "the device runs an XDP program of somebody else", "`ip link set dev DEV xdp off`, or use the tc hook", "ip-link(8)", ""}
	case XDPVLANAbove:
		return Info{"xdp-vlan-above", "VLAN tags mean something above this veth, and XDP does not see them", "use the tc hook", "drivers/net/veth.c veth_xmit (the tag stays outside the frame)", ""}
	case XDPRxVLANOn:
		return Info{"xdp-rxvlan-on", "the device takes VLAN tags off frames before XDP sees them", "`ethtool -K DEV rxvlan off`", "ethtool(8), rxvlan", ""}
	case XDPRxVLANFixed:
		return Info{"xdp-rxvlan-fixed", "the device takes VLAN tags off frames before XDP sees them and cannot be told not to", "use the tc hook", "ethtool(8), rxvlan", ""}
	case XDPLROOn:
		return Info{"xdp-lro-on", "the device merges received frames in hardware", "`ethtool -K DEV lro off`", "ethtool(8), lro", ""}
	case XDPTargetUnknown:
		return Info{"xdp-target-unknown", "this kernel does not say whether the device takes XDP redirects", "use the tc hook, or Linux 6.3 or later", features, "before 6.3"}
	case XDPTargetNotSupported:
		return Info{"xdp-target-not-supported", "the driver, or a veth's peer, does not take XDP redirects in its present configuration", "use the tc hook; of a veth, `ethtool -K PEER gro on`", features + ", NETDEV_XDP_ACT_NDO_XMIT", ""}
	case XDPQdiscShapes:
		return Info{"xdp-qdisc-shapes", "the device's qdisc shapes, and XDP redirects go round it", "use the tc hook", "tc(8), CLASSFUL QDISCS", ""}
	default:
		return Info{}
	}
}
