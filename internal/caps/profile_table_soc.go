package caps

func socProfiles() []Profile {
	ppe := Profile{
		Keys:  KeyMeta | KeyControl | KeyBasic | KeyPorts | KeyEth | KeyIPv4 | KeyIPv6 | keysVLAN,
		Chain: SupportNo, WhyChain: "takes whole flows to redirect; drop and accept are refused",
		Flowtable: Yes, Conntrack: No, HWTCOffload: On, Kernel: read(),
		Conditions: []Condition{NeedsFlow, NeedsControl, NeedsBasic, NoIPv6NAT, NoGRE, SoCPortsOnly, Only8021Q, TwoVLANs},
	}
	mtk := ppe
	mtk.Name, mtk.Drivers = "mtk", []string{"mtk_soc_eth"}
	mtk.Title = "MediaTek MT7621, MT7622, MT7986, MT7988: packet processing engine"
	mtk.XDP = has(XDPBasic, XDPRedirect, XDPNdoXmit)
	mtk.Sources = []string{"mediatek/mtk_ppe_offload.c"}

	wed := ppe
	wed.Name, wed.Mode, wed.Title = "mtk-wed", ModeWED, "MediaTek Wi-Fi behind the packet processing engine (WED 2 and later)"
	wed.Drivers = []string{"mt7915e", "mt7996e", "mt798x-wmac"}
	wed.HWTCOffload, wed.XDP = "", has()
	wed.Sources = []string{"mediatek/mtk_wed.c", "drivers/net/wireless/mediatek/mt76/npu.c"}

	airoha := ppe
	airoha.Name, airoha.Drivers, airoha.Title = "airoha", []string{"airoha_eth"}, "Airoha EN7581, AN7583: packet processing engine"
	airoha.XDP, airoha.Sources = has(), []string{"airoha/airoha_ppe.c", "airoha/airoha_eth.c"}
	return []Profile{mtk, wed, airoha, {
		Name: "stmmac", Drivers: []string{"st_gmac", "stmmaceth"}, Title: "Synopsys DesignWare GMAC and XGMAC",
		Keys: KeyBasic | KeyIPv4 | KeyPorts, Actions: ActDrop, Chain: SupportPartly,
		WhyChain:  "drops by IPv4 address or by port in a few filters; busy with RSS",
		Flowtable: No, Conntrack: No, Conditions: []Condition{AddressesOrPorts, NotWithRSS, NeedsHWTC},
		XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy),
		Sources: []string{"stmicro/stmmac/stmmac_tc.c"}, Kernel: read(),
	}}
}

func marvellProfiles() []Profile {
	return []Profile{
		{
			Name: "otx2", Drivers: []string{"rvu-nicpf", "rvu-nicvf", "rvu_nicpf", "rvu_nicvf"}, Title: "Marvell OCTEON TX2, CN10K",
			Keys:    keysL3L4 | keysVLAN | KeyEth | KeyTCPFlags | KeyICMP | KeyIP | KeyMPLS | KeyIPsec,
			Actions: ActAccept | ActDrop, Chain: SupportPartly,
			WhyChain:  "accept and drop while the ntuple feature is off; redirects are refused; no match on the incoming device",
			Flowtable: No, Conntrack: No, HWTCOffload: Off,
			Conditions: []Condition{DestinationMAC, TOSOnIPv4, NoTTL, NotWithNtuple, NeedsHWTC},
			XDP:        has(XDPBasic, XDPRedirect, XDPNdoXmit, XDPZeroCopy),
			Sources:    []string{"marvell/octeontx2/nic/otx2_tc.c"}, Kernel: read(),
		},
		{
			Name: "prestera", Drivers: []string{"prestera"}, Title: "Marvell Prestera switches",
			Keys:    keysL3L4 | KeyMeta | KeyEth | KeyICMP | KeyPortRange | KeyVLAN,
			Actions: ActAccept | ActDrop, Chain: SupportYes, WhyChain: "accept and drop; rules of nft get no counter",
			Flowtable: No, Conntrack: No, HWTCOffload: On, Conditions: []Condition{NoMetaMatch, NoNFTCounter}, XDP: has(),
			Sources: []string{"marvell/prestera/prestera_flower.c"}, Kernel: read(),
		},
	}
}

func switchProfiles() []Profile {
	return []Profile{
		{
			Name: "mlxsw", Drivers: []string{"mlxsw_spectrum", "mlxsw_spectrum2", "mlxsw_spectrum3", "mlxsw_spectrum4"},
			Title:   "NVIDIA Spectrum switches",
			Keys:    keysL3L4 | KeyMeta | KeyEth | KeyPortRange | KeyTCPFlags | KeyIP | KeyVLAN,
			Actions: ActAccept | ActDrop | ActRedirect | ActMirror, Chain: SupportYes,
			WhyChain:  "accept, drop, redirect, mirror; rules of nft get no counter",
			Flowtable: No, Conntrack: No, Conditions: []Condition{NoNFTCounter, RedirectOwnSwitch}, XDP: has(),
			Sources: []string{"mellanox/mlxsw/spectrum_flower.c"}, Kernel: read(),
		},
		{
			Name: "dsa-port", Drivers: []string{"dsa"}, Title: "port of a DSA switch",
			Chain: SupportPartly, WhyChain: "only if the driver of the switch takes flower rules (felix, sja1105, ksz)",
			// TC_SETUP_FT is handed to the conduit: it decides.
			Flowtable: Unknown, Conntrack: No, HWTCOffload: On, Conditions: []Condition{SwitchDriver, ToConduit}, XDP: has(),
			Sources: []string{"net/dsa/user.c"}, Kernel: read(),
		},
	}
}

func microchipProfiles() []Profile {
	ocelot := Profile{
		Name: "ocelot", Drivers: []string{"ocelot-switch", "mscc_ocelot"}, Title: "Microsemi Ocelot switches",
		Keys:    KeyControl | KeyBasic | KeyMeta | KeyPorts | KeyVLAN | KeyIPv4 | KeyEth,
		Actions: ActAccept | ActDrop | ActRedirect | ActMirror, Chain: SupportPartly,
		WhyChain:  "chain 0 is VCAP IS2: no IPv6 addresses, MAC addresses only alone",
		Flowtable: No, Conntrack: No, HWTCOffload: On, Conditions: []Condition{MACAlone, ChainVCAP}, XDP: has(),
		Sources: []string{"mscc/ocelot_flower.c"}, Kernel: read(),
	}
	felix := ocelot
	felix.Name, felix.Drivers, felix.Mode = "felix", []string{"mscc_felix", "vsc9959"}, ModeFelix
	felix.Title, felix.Flowtable = "Felix and Seville switches (Ocelot as a DSA switch)", Unknown
	felix.Conditions = []Condition{MACAlone, ChainVCAP, ToConduit}
	felix.Sources = []string{"mscc/ocelot_flower.c", "drivers/net/dsa/ocelot/felix.c"}

	lan966x := Profile{
		Name: "lan966x", Drivers: []string{"lan966x-switch"}, Title: "Microchip LAN966x switches",
		Keys:  keysL3L4 | keysVLAN | KeyEth | KeyTCPFlags | KeyARP | KeyIP,
		Chain: SupportNo, WhyChain: "rules need a VCAP chain of 1000000 or more: \"Invalid chain\"",
		Flowtable: No, Conntrack: No, Conditions: []Condition{ChainZeroRefused, ChainVCAP},
		XDP:     has(XDPBasic, XDPRedirect, XDPNdoXmit),
		Sources: []string{"microchip/lan966x/lan966x_tc_flower.c"}, Kernel: read(),
	}
	sparx5 := lan966x
	sparx5.Name, sparx5.Drivers, sparx5.Title = "sparx5", []string{"sparx5-switch"}, "Microchip SparX-5 and LAN969x switches"
	sparx5.HWTCOffload, sparx5.XDP = On, has()
	sparx5.Sources = []string{"microchip/sparx5/sparx5_tc_flower.c"}
	return []Profile{ocelot, felix, lan966x, sparx5}
}
