package reason

// Why no rule of a chain is offloaded by the kernel (`flags offload`), or none at all.
const (
	ChainNotNetdev Reason = firstChain + iota
	ChainNotBase
	ChainNotIngress
	ChainPriorityRange
	ChainNoDevice
	ChainPolicyDrop
	ChainDeviceRefused
	ChainNotHooked
	TableDormant
)

const firstFlowtable = TableDormant + 1

func chainInfo(r Reason) Info {
	const offload = "net/netfilter/nf_tables_offload.c "
	switch r {
	case ChainNotNetdev:
		return Info{
			"chain-not-netdev", "the kernel offloads chains of family netdev only",
			"`table netdev T { chain C { type filter hook ingress device DEV priority 1; } }`", offload + "nft_flow_rule_offload_commit", "",
		}
	case ChainNotBase:
		return Info{
			"chain-not-base", "`flags offload` belongs to a base chain; packets come to this one by jump only",
			"set the flag on the base chain", "net/netfilter/nf_tables_api.c nf_tables_addchain", "",
		}
	case ChainNotIngress:
		return Info{
			"chain-not-ingress", "the kernel offloads chains of the netdev ingress hook, not of egress and not of inet ingress",
			"move the rules to `table netdev`, `hook ingress`", offload + "nft_chain_offload_support", "",
		}
	case ChainPriorityRange:
		return Info{
			"chain-priority-range", "a chain with `flags offload` needs a priority from 1 to 65535: it is the rules' priority in hardware",
			"`priority 1`", offload + "nft_chain_offload_priority", "",
		}
	case ChainNoDevice:
		return Info{
			"chain-no-device", "the chain names no device that there is",
			"`devices = { DEV }`", "net/netfilter/nf_tables_api.c nft_chain_parse_netdev", "",
		}
	case ChainPolicyDrop:
		return Info{
			"chain-policy-drop", "the kernel does not offload a chain with policy drop",
			"`policy accept;` and a last rule `drop`", offload + "nft_flow_offload_chain", "",
		}
	case ChainDeviceRefused:
		return Info{
			"chain-device-refused", "one device of the chain refuses offload, and so the kernel refuses the whole chain",
			"one chain a device; `nft-offload doctor` says which device and why", offload + "nft_flow_block_chain", "",
		}
	case ChainNotHooked:
		return Info{
			"chain-not-hooked", "no packet comes to this chain: it is on no hook and nothing jumps to it",
			"jump to it, or remove it", "nft(8) CHAINS", "",
		}
	case TableDormant:
		return Info{
			"table-dormant", "the table is dormant: its chains are on no hook",
			"`nft add table FAMILY NAME` (flags are changed by stating them anew)", "nft(8) TABLES, flags dormant", "",
		}
	default:
		return Info{}
	}
}
