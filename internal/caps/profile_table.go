package caps

import (
	"cmp"
	"slices"
)

// Profiles are all shipped profiles, in the order of their names.
func Profiles() []Profile {
	all := slices.Concat(
		mellanoxProfiles(), intelProfiles(), iceProfiles(), smartProfiles(), broadcomProfiles(), socProfiles(),
		marvellProfiles(), switchProfiles(), microchipProfiles(), virtualProfiles(), plainProfiles(),
	)
	slices.SortFunc(all, func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// read is the kernel whose sources the profiles were read in, unless a profile says otherwise.
func read() Version { return kernel(7, 1, 5) }

// has is what a driver says about XDP.
func has(fs ...XDPFeature) XDP { return XDP{Known: true, Features: fs} }

// Sets of keys that several drivers share.
const (
	keysL3L4 = KeyControl | KeyBasic | KeyIPv4 | KeyIPv6 | KeyPorts
	keysVLAN = KeyVLAN | KeyCVLAN
)

func mellanoxProfiles() []Profile {
	keys := keysL3L4 | keysVLAN | KeyEth | KeyMeta | KeyTCPFlags | KeyIP | KeyICMP | KeyMPLS | KeyTunnel | KeyCT
	base := Profile{
		Drivers: []string{"mlx5_core"}, Keys: keys, Conntrack: Yes, Kernel: read(), HWTCOffload: Off, Flowtable: No,
		XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy, XDPRxSG),
		Sources: []string{"mellanox/mlx5/core/en_tc.c", "mellanox/mlx5/core/en_main.c", "mellanox/mlx5/core/en/tc/act/act.c"},
	}
	nic := base
	nic.Name, nic.Mode, nic.Title = "mlx5", ModeNIC, "NVIDIA ConnectX-4 Lx and later, legacy mode"
	nic.Actions, nic.Chain = ActAccept|ActDrop|ActRedirect, SupportYes
	nic.WhyChain = "redirects only to ports of the same NIC; flowtables need switchdev mode and representors"
	nic.Conditions = []Condition{NeedsHWTC, RedirectOwnSwitch}

	uplink := base
	uplink.Name, uplink.Mode, uplink.Title = "mlx5-uplink", ModeUplink, "NVIDIA ConnectX, switchdev mode, the wire"
	uplink.Actions, uplink.Chain = ActAccept|ActDrop|ActRedirect|ActMirror, SupportYes
	uplink.WhyChain = "redirects to representors, the uplink and tunnels"
	uplink.Conditions = []Condition{NeedsHWTC, RedirectOwnSwitch}

	rep := uplink
	// The uplink says mlx5_core, a representor mlx5e_rep.
	rep.Name, rep.Mode, rep.Title = "mlx5-representor", ModeRepresentor, "NVIDIA ConnectX, switchdev mode, VF or SF"
	rep.Drivers = []string{"mlx5e_rep", "mlx5_core"}
	rep.Flowtable, rep.XDP = Yes, has()
	rep.Conditions = []Condition{NeedsHWTC, RedirectOwnSwitch, NeedsFDBPrios}
	rep.Sources = []string{"mellanox/mlx5/core/en/rep/tc.c", "mellanox/mlx5/core/en_rep.c", "mellanox/mlx5/core/en/tc_ct.c"}
	return []Profile{nic, uplink, rep}
}

func intelProfiles() []Profile {
	return []Profile{
		{
			Name: "ixgbe", Drivers: []string{"ixgbe"}, Title: "Intel 82599, X540, X550", Chain: SupportNo,
			WhyChain: "takes no flower rules, only u32", Flowtable: No, Conntrack: No,
			XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy),
			Sources: []string{"intel/ixgbe/ixgbe_main.c"}, Kernel: read(),
		},
		{
			Name: "i40e", Drivers: []string{"i40e", "iavf"}, Title: "Intel X710, XL710, X722 and their VFs",
			Keys:  keysL3L4 | KeyEth | KeyVLAN | KeyTunnel,
			Chain: SupportNo, WhyChain: "rules need a traffic class (hw_tc): \"Invalid traffic class\"",
			Flowtable: No, Conntrack: No, Conditions: []Condition{NeedsClassid, NeedsHWTC},
			XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy, XDPRxSG),
			Sources: []string{"intel/i40e/i40e_main.c"}, Kernel: read(),
		},
		{
			Name: "igb", Drivers: []string{"igb"}, Title: "Intel I210, I211, I350, 82576", HWTCOffload: On,
			Keys:  KeyControl | KeyBasic | KeyEth | KeyVLAN,
			Chain: SupportNo, WhyChain: "rules need a traffic class (hw_tc)", Flowtable: No, Conntrack: No,
			Conditions: []Condition{NeedsClassid, FullMasks, NeedsHWTC},
			XDP:        has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy),
			Sources:    []string{"intel/igb/igb_main.c"}, Kernel: read(),
		},
		{
			Name: "igc", Drivers: []string{"igc"}, Title: "Intel I225, I226", HWTCOffload: On,
			Chain: SupportNo, WhyChain: "does not take part in tc offload (no TC_SETUP_BLOCK)", Flowtable: No, Conntrack: No,
			XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy),
			Sources: []string{"intel/igc/igc_main.c"}, Kernel: read(),
		},
	}
}

func iceProfiles() []Profile {
	base := Profile{
		Drivers: []string{"ice"}, Flowtable: No, Conntrack: No, HWTCOffload: Off, Kernel: read(),
		Keys: keysL3L4 | keysVLAN | KeyEth | KeyIP | KeyTunnel | KeyPPPoE | KeyL2TPv3,
		XDP:  has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy, XDPRxSG), Conditions: []Condition{NeedsHWTC},
	}
	legacy := base
	legacy.Name, legacy.Mode, legacy.Title = "ice", ModeNIC, "Intel E810, E822, E823, legacy mode"
	legacy.Actions, legacy.Chain, legacy.WhyChain = ActDrop, SupportPartly, "drop only; accept and redirect are refused"
	legacy.Sources = []string{"intel/ice/ice_tc_lib.c", "intel/ice/ice_main.c"}

	uplink := base
	uplink.Name, uplink.Mode, uplink.Title = "ice-uplink", ModeUplink, "Intel E810, switchdev mode, the wire"
	uplink.Actions, uplink.Chain = ActDrop|ActRedirect|ActMirror, SupportPartly
	uplink.WhyChain = "drop; redirect and mirror between the wire and representors; accept is refused"
	uplink.Conditions = []Condition{NeedsHWTC, RedirectOwnSwitch}
	uplink.Sources = []string{"intel/ice/ice_tc_lib.c", "intel/ice/ice_repr.c"}

	rep := uplink
	rep.Name, rep.Mode, rep.Title = "ice-representor", ModeRepresentor, "Intel E810, switchdev mode, VF"
	rep.XDP = has()
	return []Profile{legacy, uplink, rep}
}

func smartProfiles() []Profile {
	ef100 := Profile{
		Name: "sfc-ef100", Drivers: []string{"sfc"}, Mode: ModeEF100, Title: "AMD Alveo SN1000, X3 with EF100",
		Keys:    keysL3L4 | keysVLAN | KeyEth | KeyTCPFlags | KeyIP | KeyTunnel | KeyCT,
		Actions: ActDrop | ActRedirect | ActMirror, Chain: SupportPartly,
		WhyChain: "drop, redirect, mirror; accept is refused (\"Unhandled action\"); no match on the incoming device",
		// Conntrack on the physical function.
		Flowtable: No, Conntrack: Yes, HWTCOffload: On, Conditions: []Condition{NeedsHWTC, RedirectOwnSwitch},
		XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit),
		Sources: []string{"sfc/tc.c", "sfc/tc_bindings.c", "sfc/tc_conntrack.c", "sfc/efx.c"}, Kernel: read(),
	}
	return []Profile{
		{
			Name: "nfp", Drivers: []string{"nfp"}, Title: "Netronome Agilio with the flower firmware",
			Keys:    keysL3L4 | keysVLAN | KeyEth | KeyTCPFlags | KeyTunnel | KeyMPLS | KeyCT | KeyMeta | KeyIP,
			Actions: ActDrop | ActRedirect | ActMirror, Chain: SupportPartly,
			WhyChain:  "drop, redirect, mirror; accept is refused; the rule must match an ethertype",
			Flowtable: No, Conntrack: Yes, HWTCOffload: On,
			Conditions: []Condition{NeedsEthertype, NoARP, RedirectOwnSwitch, NeedsHWTC, XDPVaries},
			XDP:        has(XDPBasic),
			Sources: []string{
				"netronome/nfp/flower/offload.c", "netronome/nfp/flower/action.c", "netronome/nfp/flower/conntrack.c",
			},
			Kernel: read(),
		},
		ef100,
		{
			Name: "sfc-ef10", Drivers: []string{"sfc"}, Mode: ModeEF10, Title: "Solarflare SFN7000 to X2 (EF10)",
			Chain: SupportNo, WhyChain: "takes no flower rules", Flowtable: No, Conntrack: No,
			XDP: has(XDPBasic, XDPRedirect, XDPNdoXmit), Sources: []string{"sfc/efx.c"}, Kernel: read(),
		},
		{
			Name: "cxgb4", Drivers: []string{"cxgb4"}, Title: "Chelsio T4, T5, T6",
			Keys:    keysL3L4 | KeyVLAN | KeyIP | KeyTunnel,
			Actions: ActAccept | ActDrop | ActRedirect, Chain: SupportYes,
			WhyChain:  "accept, drop, redirect to its own ports; no MAC addresses, no match on the incoming device",
			Flowtable: No, Conntrack: No, Conditions: []Condition{NoTTL, RedirectOwnSwitch, MirrorMatchall, NeedsHWTC},
			XDP: has(), Sources: []string{"chelsio/cxgb4/cxgb4_tc_flower.c"}, Kernel: read(),
		},
	}
}

func broadcomProfiles() []Profile {
	return []Profile{{
		Name: "qede", Drivers: []string{"qede"}, Title: "Marvell (QLogic) FastLinQ 41000, 45000",
		Keys: KeyControl | KeyBasic | KeyIPv4 | KeyIPv6 | KeyPorts, Actions: ActDrop, Chain: SupportPartly,
		WhyChain: "drops by IPv4 or IPv6 address and port", Flowtable: No, Conntrack: No, XDP: XDP{},
		Sources: []string{"qlogic/qede/qede_filter.c"}, Kernel: read(),
	}, {
		Name: "bnxt", Drivers: []string{"bnxt_en"}, Title: "Broadcom NetXtreme-C and -E",
		Keys:    keysL3L4 | KeyEth | KeyVLAN | KeyICMP | KeyTunnel,
		Actions: ActDrop | ActRedirect, Chain: SupportPartly,
		WhyChain:  "drop and redirect within the same switch, in rules that match an IP address; accept programs nothing",
		Flowtable: No, Conntrack: No, HWTCOffload: On,
		Conditions: []Condition{
			NeedsControl, NeedsBasic, NeedsEthertype, NeedsL4ForPorts, NoPartialMAC, RedirectOwnSwitch, AcceptIsEmpty,
			NeedsHWTC,
		},
		XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPRxSG),
		Sources: []string{"broadcom/bnxt/bnxt_tc.c"}, Kernel: read(),
	}}
}
