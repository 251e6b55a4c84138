package caps

import (
	"bufio"
	"bytes"
	"strings"
)

// ParseConfig reads a kernel's .config (/proc/config.gz unpacked, /boot/config-*). Options that it does not name are
// off: they depend on others that are. It returns nil where the text is none.
func ParseConfig(config []byte) map[Option]Answer {
	on := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(config))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.HasPrefix(name, "CONFIG_") {
			on[name] = value == "y" || value == "m"
		}
	}
	if len(on) == 0 {
		return nil
	}
	out := map[Option]Answer{}
	for _, o := range Options() {
		if symbol := o.Symbol(); symbol != "" {
			out[o] = AnswerOf(on[symbol])
		}
	}
	return out
}

// Symbol is the option of the kernel's configuration; empty for what has none.
func (o Option) Symbol() string {
	switch o {
	case OptNFTables:
		return "CONFIG_NF_TABLES"
	case OptNetdevChains:
		return "CONFIG_NF_TABLES_NETDEV"
	case OptFlowtable:
		return "CONFIG_NF_FLOW_TABLE"
	case OptFlowtableInet:
		return "CONFIG_NF_FLOW_TABLE_INET"
	case OptFlowtableProc:
		return "CONFIG_NF_FLOW_TABLE_PROCFS"
	case OptFlowOffload:
		return "CONFIG_NFT_FLOW_OFFLOAD"
	case OptConntrack:
		return "CONFIG_NF_CONNTRACK"
	case OptCTLabels:
		return "CONFIG_NF_CONNTRACK_LABELS"
	case OptNetdevsim:
		return "CONFIG_NETDEVSIM"
	default:
		return o.moreSymbol()
	}
}

func (o Option) moreSymbol() string {
	switch o {
	case OptBPF, OptXDP:
		return "CONFIG_BPF_SYSCALL"
	case OptBTF:
		return "CONFIG_DEBUG_INFO_BTF"
	case OptBPFJIT:
		return "CONFIG_BPF_JIT"
	case OptTCX:
		return "CONFIG_NET_XGRESS"
	case OptClsFlower:
		return "CONFIG_NET_CLS_FLOWER"
	case OptClsBPF:
		return "CONFIG_NET_CLS_BPF"
	case OptClsAct:
		return "CONFIG_NET_CLS_ACT"
	case OptSchIngress:
		return "CONFIG_NET_SCH_INGRESS"
	case OptActMirred:
		return "CONFIG_NET_ACT_MIRRED"
	case OptActGact:
		return "CONFIG_NET_ACT_GACT"
	case OptActCT:
		return "CONFIG_NET_ACT_CT"
	default:
		return ""
	}
}

// Module is the file of the module that the option is in where it is built as one, without ".ko"; empty for what is
// never a module.
func (o Option) Module() string {
	switch o {
	case OptNFTables:
		return "nf_tables"
	case OptFlowtable:
		return "nf_flow_table"
	case OptFlowtableInet:
		return "nf_flow_table_inet"
	case OptFlowOffload:
		return "nft_flow_offload"
	case OptConntrack:
		return "nf_conntrack"
	case OptClsFlower:
		return "cls_flower"
	case OptClsBPF:
		return "cls_bpf"
	case OptSchIngress:
		return "sch_ingress"
	case OptActMirred:
		return "act_mirred"
	case OptActGact:
		return "act_gact"
	case OptActCT:
		return "act_ct"
	case OptNetdevsim:
		return "netdevsim"
	default:
		return ""
	}
}

// Deduce fills in options that follow from the version and from other options.
func (k *Kernel) Deduce() {
	if k.Options == nil {
		k.Options = map[Option]Answer{}
	}
	if !k.Version.Known() {
		return
	}
	set := func(o Option, since bool, needs ...Option) {
		if k.Options[o] != Unknown {
			return
		}
		k.Options[o] = No
		if since {
			k.Options[o] = k.all(needs)
		}
	}
	v := k.Version
	if !v.AtLeast(6, 6) {
		k.Options[OptTCX] = No
	}
	set(OptCTKfuncs, v.AtLeast(5, 18), OptBTF, OptConntrack)
	set(OptXDPFlowLookup, v.AtLeast(6, 11), OptBTF, OptFlowtable)
	set(OptXDPFeatures, v.AtLeast(6, 3))
}

// all is Yes where all options are there, No where one is not.
func (k *Kernel) all(os []Option) Answer {
	out := Yes
	for _, o := range os {
		switch k.Options[o] {
		case No:
			return No
		case Unknown:
			out = Unknown
		case Yes:
		}
	}
	return out
}
