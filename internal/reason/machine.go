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
	AcctOff
	ForwardingOff
	KernelQuirk
)

const firstLint = KernelQuirk + 1

func machineInfo(r Reason) Info {
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
	case AcctOff:
		return Info{"conntrack-acct-off", "conntrack does not count (nf_conntrack_acct is 0): a flowtable's `counter` counts nothing", "`sysctl -w net.netfilter.nf_conntrack_acct=1`", "net/netfilter/nf_flow_table_core.c nf_ct_acct_add", ""}
	case ForwardingOff:
		return Info{"forwarding-off", "this machine does not forward: there are no flows to carry", "`sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`", "Documentation/networking/ip-sysctl.rst", ""}
	case KernelQuirk:
		return Info{"kernel-quirk", "this kernel has, or may have, a bug that matters to something the ruleset uses", "a fixed kernel, or what the bug's own remedy says", "docs/kernel-bugs.md has the source of each", "those of docs/kernel-bugs.md"}
	default:
		return Info{}
	}
}
