package caps

import "slices"

// Machine is what one machine has and can do. Its JSON is what `doctor --json` prints and `plan --caps` reads.
type Machine struct {
	// Assumed: nobody has looked at a machine, see Assume. What depends on more than its devices is not known.
	Assumed bool   `json:"assumed,omitempty"`
	Kernel  Kernel `json:"kernel"`
	NFT     string `json:"nft,omitempty"` // version of nft(8); empty where there is none
	TC      string `json:"tc,omitempty"`  // version of tc(8)
	CPUs    int    `json:"cpus,omitempty"`
	// Forwarding: packets from one device may leave by another. Accounting: conntrack counts packets. BPFFS: a bpf file
	// system is mounted where pins go. All of the network namespace that was looked at.
	Forwarding Answer `json:"forwarding,omitempty"`
	Accounting Answer `json:"accounting,omitempty"`
	BPFFS      Answer `json:"bpffs,omitempty"`

	Devices []Device `json:"devices,omitempty"`
}

// Device finds a device by name.
func (m Machine) Device(name string) (Device, bool) {
	i := slices.IndexFunc(m.Devices, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return Device{}, false
	}
	return m.Devices[i], true
}

// Lowest returns the devices at the bottom of a device's stack, nearest first: those that `flowtable` must list and
// where frames arrive. A device that stands on none is its own.
func (m Machine) Lowest(name string) []string {
	var out []string
	seen := map[string]bool{name: true}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		d, ok := m.Device(queue[0])
		if !ok || len(d.Lower) == 0 {
			out = append(out, queue[0])
			continue
		}
		for _, l := range d.Lower {
			if !seen[l] {
				seen[l] = true
				queue = append(queue, l)
			}
		}
	}
	return out
}

// Kernel is the running kernel, or the one that a plan is for.
type Kernel struct {
	Version Version           `json:"version"`
	Options map[Option]Answer `json:"options,omitempty"` // options that are missing are unknown
}

// Has says whether the kernel has an option.
func (k Kernel) Has(o Option) Answer { return k.Options[o] }

// Option names something that a kernel is built with, or has since some version.
type Option string

// The options.
const (
	OptNFTables      Option = "nf-tables"        // CONFIG_NF_TABLES
	OptCTLabels      Option = "conntrack-labels" // CONFIG_NF_CONNTRACK_LABELS
	OptBPF           Option = "bpf"              // CONFIG_BPF_SYSCALL
	OptFlowtable     Option = "flowtable"        // CONFIG_NF_FLOW_TABLE: flowtables
	OptFlowtableInet Option = "flowtable-inet"   // CONFIG_NF_FLOW_TABLE_INET
	OptFlowOffload   Option = "flow-offload"     // CONFIG_NFT_FLOW_OFFLOAD: the expression `flow add`
	OptNetdevChains  Option = "netdev-chains"    // CONFIG_NF_TABLES_NETDEV
	OptConntrack     Option = "conntrack"        // CONFIG_NF_CONNTRACK
	OptBTF           Option = "btf"              // CONFIG_DEBUG_INFO_BTF: /sys/kernel/btf/vmlinux
	OptBPFJIT        Option = "bpf-jit"          // CONFIG_BPF_JIT, and switched on
	OptClsFlower     Option = "cls-flower"       // CONFIG_NET_CLS_FLOWER
	OptClsBPF        Option = "cls-bpf"          // CONFIG_NET_CLS_BPF
	OptClsAct        Option = "cls-act"          // CONFIG_NET_CLS_ACT
	OptSchIngress    Option = "sch-ingress"      // CONFIG_NET_SCH_INGRESS: clsact
	OptActMirred     Option = "act-mirred"       // CONFIG_NET_ACT_MIRRED
	OptActGact       Option = "act-gact"         // CONFIG_NET_ACT_GACT: drop, pass
	OptActCT         Option = "act-ct"           // CONFIG_NET_ACT_CT
	OptTCX           Option = "tcx"              // CONFIG_NET_XGRESS, Linux 6.6
	OptXDP           Option = "xdp"              // CONFIG_BPF_SYSCALL and Linux 4.8
	OptXDPFeatures   Option = "xdp-features"     // the netdev netlink family, Linux 6.3
	OptXDPFlowLookup Option = "xdp-flow-lookup"  // bpf_xdp_flow_lookup, Linux 6.11 with flowtables and BTF
	OptCTKfuncs      Option = "ct-kfuncs"        // bpf_xdp_ct_lookup and its like, Linux 5.18
	OptFlowtableProc Option = "flowtable-proc"   // CONFIG_NF_FLOW_TABLE_PROCFS
	OptNetdevsim     Option = "netdevsim"        // CONFIG_NETDEVSIM
)

// Options lists all options in the order in which they are shown.
func Options() []Option {
	return []Option{
		OptNFTables, OptNetdevChains, OptFlowtable, OptFlowtableInet, OptFlowOffload, OptConntrack, OptCTLabels, OptBPF, OptBTF,
		OptBPFJIT, OptClsFlower,
		OptClsBPF, OptClsAct, OptSchIngress, OptActMirred, OptActGact, OptActCT, OptTCX, OptXDP, OptXDPFeatures,
		OptXDPFlowLookup, OptCTKfuncs, OptFlowtableProc, OptNetdevsim,
	}
}
