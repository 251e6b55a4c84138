package reason

// What the kernel or the machine lacks, and bugs of the kernel that it runs.
const (
	KernelTooOld Reason = firstMachine + iota
	NoBTF
	NoBPF
	NoFlowtable
	NoClsFlower
	NoNFTables
	NoConntrack
	NoConntrackLabels
	NoNFT
	NFTTooOld
	NoTC
	NoBPFFS
	NotRoot
	AcctOff
	ForwardingOff
	NoDaemon
	// Bugs of kernel versions.
	QuirkOffloadMask
	QuirkMaxActions
	QuirkConntrackTimeout
	QuirkEgressDevice
	QuirkTCPNAT
	QuirkPublishOrder
	QuirkHWDeadRace
	QuirkRouteLeak
	QuirkReferenceLeak
	QuirkSetupError
)

const firstLint = QuirkSetupError + 1

func machineInfo(r Reason) Info {
	if r >= QuirkOffloadMask {
		return quirkInfo(r)
	}
	switch r {
	case KernelTooOld:
		return Info{"kernel-too-old", "the fast path needs Linux 6.1 or later", "a newer kernel; plan and the kernel's own flowtable work without", "design of nft-offload", "before 6.1"}
	case NoBTF:
		return Info{"no-btf", "the kernel was built without BTF (CONFIG_DEBUG_INFO_BTF): the fast path cannot read its structures", "a kernel with /sys/kernel/btf/vmlinux", "Documentation/bpf/btf.rst", ""}
	case NoBPF:
		return Info{"no-bpf", "the kernel lacks bpf(2) or its JIT", "CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT", "bpf(2)", ""}
	case NoFlowtable:
		return Info{"no-flowtable", "the kernel has no flowtables (CONFIG_NF_FLOW_TABLE): a ruleset with one does not load", "`nft-offload load --lower FILE` carries its flows without", "net/netfilter/Kconfig NF_FLOW_TABLE", ""}
	case NoClsFlower:
		return Info{"no-cls-flower", "the kernel has no flower classifier (CONFIG_NET_CLS_FLOWER): rules cannot be given to hardware by tc", "CONFIG_NET_CLS_FLOWER, `modprobe cls_flower`", "tc-flower(8)", ""}
	case NoNFTables:
		return Info{"no-nf-tables", "the kernel has no nf_tables", "CONFIG_NF_TABLES", "net/netfilter/Kconfig NF_TABLES", ""}
	case NoConntrack:
		return Info{"no-conntrack", "the kernel has no connection tracking: there are no established flows", "CONFIG_NF_CONNTRACK", "net/netfilter/Kconfig NF_CONNTRACK", ""}
	case NoConntrackLabels:
		return Info{"no-conntrack-labels", "the kernel has no conntrack labels, which a lowered ruleset marks its flows with", "CONFIG_NF_CONNTRACK_LABELS, or `load --lower --mark BIT`", "net/netfilter/Kconfig NF_CONNTRACK_LABELS", ""}
	case NoNFT:
		return Info{"no-nft", "nft(8) is not installed, which reads and writes rulesets", "install nftables", "nft(8)", ""}
	case NFTTooOld:
		return Info{"nft-too-old", "this version of nft(8) leaves something out of its JSON", "nftables 1.0.6 or later", "libnftables-json(5)", ""}
	case NoTC:
		return Info{"no-tc", "tc(8) is not installed, which programs hardware rules", "install iproute2", "tc(8)", ""}
	case NoBPFFS:
		return Info{"no-bpffs", "no bpf file system is mounted: programs cannot outlive the daemon", "`mount -t bpf bpf /sys/fs/bpf`", "Documentation/filesystems/, bpf(2) BPF_OBJ_PIN", ""}
	case NotRoot:
		return Info{"not-root", "CAP_NET_ADMIN and CAP_BPF are missing", "run it as root; `nft-offload plan FILE` needs neither", "capabilities(7)", ""}
	case AcctOff:
		return Info{"conntrack-acct-off", "conntrack does not count (nf_conntrack_acct is 0): a flowtable's `counter` counts nothing", "`sysctl -w net.netfilter.nf_conntrack_acct=1`", "net/netfilter/nf_flow_table_core.c nf_ct_acct_add", ""}
	case ForwardingOff:
		return Info{"forwarding-off", "this machine does not forward: there are no flows to carry", "`sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`", "Documentation/networking/ip-sysctl.rst", ""}
	case NoDaemon:
		return Info{"no-daemon", "no `nft-offload run` in this network namespace: no new flow is taken", "`nft-offload run`", "design of nft-offload", ""}
	default:
		return Info{}
	}
}

func quirkInfo(r Reason) Info {
	switch r {
	case QuirkOffloadMask:
		return Info{"quirk-offload-mask", "chain offload programs wrong masks for parts of IPv6 and MAC addresses (CVE-2026-74579)", "use no `flags offload` chain with such matches, or a fixed kernel", "net/netfilter/nft_payload.c nft_payload_offload_mask, CVE-2026-74579", "before 5.10.265, 5.15.216, 6.1.183, 6.6.151, 6.12.103, 6.18.44, 7.1.8"}
	case QuirkMaxActions:
		return Info{"quirk-max-actions", "a flow with IPv6 NAT on both ends and two VLAN tags overruns the array of hardware actions (CVE-2026-43329)", "leave `flags offload` out, or use a fixed kernel", "net/netfilter/nf_flow_table_offload.c NF_FLOW_RULE_ACTION_MAX, CVE-2026-43329", "before 7.0"}
	case QuirkConntrackTimeout:
		return Info{"quirk-conntrack-timeout", "the conntrack entry of a long-lived offloaded flow may end after a day", "a newer kernel", "net/netfilter/nf_flow_table_core.c nf_flow_table_extend_ct_timeout", "6.19 and 7.0"}
	case QuirkEgressDevice:
		return Info{"quirk-egress-device", "the flowtable sends by the lowest device even where that is not listed, so a VLAN's packets may leave without their tag, and drops where it finds no path", "list the lowest devices", "net/netfilter/nf_flow_table_path.c nft_dev_forward_path", "6.19 to 7.1.5"}
	case QuirkTCPNAT:
		return Info{"quirk-tcp-nat", "flowtables break TCP connections with NAT", "use another kernel, or `nft-offload load --lower`", "gh:firewalld/firewalld#1555", "6.19"}
	case QuirkPublishOrder:
		return Info{"quirk-publish-order", "a flow is visible to the garbage collector before it is whole: use after free (CVE-2026-74746)", "use a fixed kernel", "net/netfilter/nf_flow_table_core.c flow_offload_add, CVE-2026-74746", "to 7.1.5"}
	case QuirkHWDeadRace:
		return Info{"quirk-hw-dead-race", "a flow that hardware is still given may be freed (CVE-2026-98625, CVE-2026-98792)", "leave `flags offload` out, or use a fixed kernel", "net/netfilter/nf_flow_table_offload.c, CVE-2026-98625, CVE-2026-98792", "to 7.1.5"}
	case QuirkRouteLeak:
		return Info{"quirk-route-leak", "a flow that fails to be added leaks a route (CVE-2026-74695): a device may not go away", "use a fixed kernel", "net/netfilter/nf_flow_table_core.c, CVE-2026-74695", "to 7.1.5"}
	case QuirkReferenceLeak:
		return Info{"quirk-reference-leak", "a flowtable may stay in use for ever (EBUSY; CVE-2026-98851)", "reboot, or use a fixed kernel", "net/netfilter/nf_tables_api.c, CVE-2026-98851", "to 7.1.5"}
	case QuirkSetupError:
		return Info{"quirk-setup-error", "a flowtable with `flags offload` that a device refuses may be used after it is freed (CVE-2026-23392)", "leave `flags offload` out where a device is not known to take it, or use a fixed kernel", "net/netfilter/nf_tables_api.c nf_tables_newflowtable, CVE-2026-23392", "to 7.1.5"}
	default:
		return Info{}
	}
}
