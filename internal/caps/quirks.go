package caps

// kernel is a version of ours for tables.
func kernel(major, minor, patch int) Version {
	return Version{Major: major, Minor: minor, Patch: patch, Exact: true}
}

// Quirks are the known kernel bugs, those of rules first. Fixed versions are those of the OSV record of each CVE.
func Quirks() []Quirk {
	return append(hardwareQuirks(), softwareQuirks()...)
}

func hardwareQuirks() []Quirk {
	return []Quirk{
		{
			ID: "CVE-2026-74579", Scope: ScopeChainOffload,
			Title: "a rule that matches part of an IPv6 or MAC address is programmed with a mask that is too long: " +
				"`ip6 saddr 2001:db8::/64` becomes /128 in hardware",
			Since: kernel(5, 10, 0),
			Fixed: []Version{
				kernel(5, 10, 265), kernel(5, 15, 216), kernel(6, 1, 183), kernel(6, 6, 151), kernel(6, 12, 103),
				kernel(6, 18, 44), kernel(7, 1, 8),
			},
			Remedy: "leave `flags offload` away, or match prefixes of IPv6 in software",
			Source: "https://osv.dev/vulnerability/CVE-2026-74579",
		},
		{
			ID: "CVE-2026-43329", Scope: ScopeFlowtableOffload,
			Title: "IPv6 flows with source and destination NAT and two VLAN tags need 17 actions where the kernel has " +
				"room for 16: it writes past the end",
			Since: kernel(5, 5, 0),
			Fixed: []Version{
				kernel(5, 15, 203), kernel(6, 1, 168), kernel(6, 6, 134), kernel(6, 12, 81), kernel(6, 18, 22),
				kernel(6, 19, 12),
			},
			Remedy: "leave `flags offload` away where IPv6 is NATed between stacked VLANs",
			Source: "https://osv.dev/vulnerability/CVE-2026-43329",
		},
		{
			ID: "CVE-2026-23392", Scope: ScopeFlowtableOffload,
			Title: "a flowtable that a device refuses (`flags offload` on one without support) is freed while packets " +
				"still use it",
			Since: kernel(4, 16, 0),
			Fixed: []Version{
				kernel(6, 1, 167), kernel(6, 6, 130), kernel(6, 12, 78), kernel(6, 18, 20), kernel(6, 19, 10),
			},
			Remedy: "try `flags offload` before there is traffic",
			Source: "https://osv.dev/vulnerability/CVE-2026-23392",
		},
		{
			ID: "CVE-2026-98625", Scope: ScopeFlowtableOffload,
			Title:  "adding and removing a flow in hardware race; the first fix is completed by CVE-2026-98792",
			Remedy: "leave `flags offload` away",
			Source: "https://osv.dev/vulnerability/CVE-2026-98625 (fixed versions not recorded)",
		},
		{
			ID: "mtk-l2tp-panic", Scope: ScopeFlowtableOffload,
			Title:  "MediaTek's packet processor panics over L2TP flows",
			Doubt:  kernel(5, 13, 0),
			Fixed:  []Version{kernel(6, 18, 22), kernel(7, 0, 0)},
			Clean:  []Version{kernel(6, 12, 94)},
			Remedy: "leave `flags offload` away on routers with L2TP",
			Source: "https://github.com/openwrt/openwrt/issues/20869",
		},
		{
			ID: "CVE-2022-50000", Scope: ScopeFlowtableOffload,
			Title: "flows in hardware are stuck when their flowtable is deleted while work is pending",
			Since: kernel(5, 5, 0), Fixed: []Version{kernel(5, 15, 64), kernel(5, 19, 6)},
			Source: "https://osv.dev/vulnerability/CVE-2022-50000",
		},
	}
}

func softwareQuirks() []Quirk {
	return []Quirk{
		{
			ID: "ct-timeout-not-extended", Scope: ScopeFlowtable,
			Title: "the conntrack entry of an offloaded flow is not kept alive: flows in hardware end after five minutes, " +
				"others after a day",
			// The function came in between 6.12, which does not have it, and 6.18, which does.
			Doubt: kernel(6, 13, 0), Since: kernel(6, 18, 0),
			Fixed: []Version{kernel(6, 18, 39)}, Clean: []Version{kernel(7, 1, 5)},
			Remedy: "leave `flags offload` away where connections live long",
			Source: "https://github.com/openwrt/openwrt/pull/22970",
		},
		{
			ID: "flowtable-6.19-lowest-device", Scope: ScopeFlowtableStacked,
			Title: "packets leave by the lowest device even where the flowtable lists only the one above, without its " +
				"tags; where no path is found they are dropped",
			Since: kernel(6, 19, 0), Seen: kernel(7, 1, 5),
			Remedy: "list the lowest devices in the flowtable",
			Source: "net/netfilter/nf_flow_table_path.c of 6.19 to 7.1.5, by reading",
		},
		{
			ID: "flowtable-6.19-nat-tcp", Scope: ScopeFlowtableNAT,
			Title: "TCP through NAT stops when flows enter a flowtable that lists a bridge; 6.18 is well",
			// The report says 6.19 and no more of the version.
			Since: kernel(6, 19, 0), Seen: kernel(6, 19, 99),
			Remedy: "list the ports of the bridge in place of the bridge, or stay on 6.18",
			Source: "https://github.com/firewalld/firewalld/issues/1555",
		},
		{
			ID: "CVE-2026-74746", Scope: ScopeFlowtable,
			Title: "a flow can be freed while it is added",
			Since: kernel(4, 16, 0),
			Fixed: []Version{
				kernel(5, 10, 266), kernel(5, 15, 217), kernel(6, 1, 184), kernel(6, 6, 153), kernel(6, 12, 105),
				kernel(6, 18, 46), kernel(7, 1, 10),
			},
			Source: "https://osv.dev/vulnerability/CVE-2026-74746",
		},
		{
			ID: "CVE-2026-74695", Scope: ScopeFlowtable,
			Title: "a packet that already has a route leaks it on the fast path",
			Since: kernel(4, 18, 0), Fixed: []Version{kernel(6, 18, 45), kernel(7, 1, 9)},
			Source: "https://osv.dev/vulnerability/CVE-2026-74695",
		},
		{
			ID: "CVE-2026-98851", Scope: ScopeFlowtable,
			Title:  "a reference is leaked, and the flowtable can no longer be deleted (device or resource busy)",
			Remedy: "reboot to be rid of the flowtable",
			Source: "https://osv.dev/vulnerability/CVE-2026-98851 (fixed versions not recorded)",
		},
		{
			ID: "CVE-2024-27016", Scope: ScopeFlowtablePPPoE,
			Title: "the PPPoE header of a packet is read before it is known to be there",
			Since: kernel(5, 13, 0),
			Fixed: []Version{
				kernel(5, 15, 157), kernel(6, 1, 88), kernel(6, 6, 29), kernel(6, 8, 8),
			},
			Source: "https://osv.dev/vulnerability/CVE-2024-27016",
		},
		{
			ID: "flowtable-no-path", Scope: ScopeFlowtableStacked,
			Title: "the flowtable does not look below bridges, VLAN and PPPoE devices",
			Since: kernel(4, 16, 0), Fixed: []Version{kernel(5, 13, 0)},
			Remedy: "list the devices that have the addresses",
			Source: "https://github.com/openwrt/openwrt/issues/9854",
		},
	}
}
