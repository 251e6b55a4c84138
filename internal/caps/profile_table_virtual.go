package caps

// virtualProfiles are of devices without hardware: none has ndo_setup_tc.
func virtualProfiles() []Profile {
	const why = "no ndo_setup_tc"
	// indirect devices can carry rules for a NIC below that asks for them (flow_indr_dev_register).
	const whyIndirect = why + ": only what mlx5, nfp, bnxt, sfc or ice below take on their behalf"
	virtual := func(name, title, source string, x XDP) Profile {
		return Profile{
			Name: name, Drivers: []string{name}, Title: title, Chain: SupportNo, WhyChain: why, Flowtable: No, Conntrack: No,
			HWTCOffload: OffFixed, XDP: x, Sources: []string{source}, Kernel: read(),
		}
	}
	indirect := func(p Profile) Profile {
		p.WhyChain, p.Conditions = whyIndirect, []Condition{IndirectOnly}
		return p
	}
	virtio := virtual("virtio_net", "virtio network card of a VM", "drivers/net/virtio_net.c", has(XDPBasic, XDPRedirect))
	virtio.Conditions = []Condition{XDPVaries}
	veth := virtual("veth", "veth", "drivers/net/veth.c", has(XDPBasic, XDPRedirect, XDPRxSG))
	veth.Conditions = []Condition{XDPVaries}
	// A bond has what all its members have, zero-copy excepted; without members at hand nothing is known.
	bond := indirect(virtual("bond", "bond", "drivers/net/bonding/bond_main.c", XDP{}))
	bond.Drivers = []string{"bonding", "bond"}
	bridge := indirect(virtual("bridge", "bridge", "net/bridge/br_device.c", has()))
	vlan := indirect(virtual("vlan", "VLAN device", "net/8021q/vlan_dev.c", has()))
	vlan.Drivers = []string{"802.1Q VLAN Support", "vlan"}
	tun := virtual("tun", "tun or tap of a VM or a VPN", "drivers/net/tun.c", has(XDPBasic, XDPRedirect, XDPNdoXmit))
	nsim := Profile{
		Name: "netdevsim", Drivers: []string{"netdevsim"}, Title: "test driver of the kernel, 7.1 and before",
		Chain: SupportNo, WhyChain: "an empty chain binds, every rule is refused; later kernels accept every rule and do nothing",
		Flowtable: No, Conntrack: No, HWTCOffload: Off, XDP: has(XDPBasic, XDPHWOffload),
		Sources: []string{
			"drivers/net/netdevsim/tc.c", "drivers/net/netdevsim/netdev.c", "drivers/net/netdevsim/bpf.c",
		},
		Kernel: read(),
	}
	later := nsim
	later.Name, later.Title = "netdevsim-fake", "test driver of the kernel after 7.1: says yes to everything"
	later.Keys, later.Actions = keyEnd-1, ActAccept|ActDrop|ActRedirect|ActMirror
	later.Chain, later.WhyChain, later.Flowtable = SupportPartly, "accepts every rule and does nothing", Yes
	later.Conditions, later.Kernel = []Condition{Ignored}, kernel(7, 2, 0)
	later.Sources = []string{"drivers/net/netdevsim/tc.c of torvalds/linux after 7.1"}
	return []Profile{virtio, veth, bond, bridge, vlan, tun, nsim, later}
}

// plainProfiles are of NICs that do nothing but send and receive: their net_device_ops have neither ndo_setup_tc nor
// ndo_bpf.
func plainProfiles() []Profile {
	plain := func(name, title, source string, k Version) Profile {
		return Profile{
			Name: name, Drivers: []string{name}, Title: title, Chain: SupportNo, WhyChain: "no ndo_setup_tc", Flowtable: No,
			Conntrack: No, HWTCOffload: OffFixed, XDP: has(), Sources: []string{source}, Kernel: k,
		}
	}
	return []Profile{
		// The copy read does not say its version; its contents are of 6.4 or later.
		plain("e1000e", "Intel PRO/1000, I217, I218, I219", "intel/e1000e/netdev.c", kernel(6, 4, 0)),
		plain("r8169", "Realtek RTL8111, RTL8125, RTL8126", "realtek/r8169_main.c", kernel(6, 18, 0)),
	}
}
