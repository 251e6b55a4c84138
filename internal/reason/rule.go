package reason

// Why a rule of a netdev ingress chain is not executed early, in hardware or at XDP.
const (
	// What the kernel's own chain offload refuses (`flags offload`).
	NoTerminalAction Reason = iota + 1
	ExprNotSupported
	FieldNotSupported
	MatchOpNotEq
	BitwiseNotMask
	MergedPayload
	FieldMatchedTwice
	MissingL3Dep
	MissingL4Dep
	IifnameNotIfindex
	VerdictNotAcceptDrop
	PrefixMaskBug
	TooManyActions
	FwdToAddress
	// What a driver refuses.
	NoFlower
	KeyNotSupported
	PartialMaskNotSupported
	ActionNotSupported
	NeedsHwTc
	NeedsEthertype
	NeedsControlKey
	HardwareTableFull
	RedirectTargetNotSameSwitch
	ChainIDNotSupported
	NoHardwareCounter
	ExpansionTooLarge
	// What makes early execution unsound, at any tier.
	EarlierRuleNotDisjoint
	EarlierRuleOpaque
	EarlierChain
	SideEffect
	AcceptNotFinal
	OpaqueStatement
	RuleMisread
	HookNotEarly
	FamilyNotNetdev
	StatefulMatch
	MatchNotEarly
	SetDynamic
	VerdictNotEarly
	MangleNotEarly
	FwdTargetNotEarly
	RuleNeverMatches
	RuleNotReached
	NoDeviceEarly
	MapJumps
	MatchNoPlace
	TableOwned
)

const firstChain = TableOwned + 1

func ruleInfo(r Reason) Info {
	switch {
	case r <= FwdToAddress:
		return ruleKernelInfo(r)
	case r <= ExpansionTooLarge:
		return ruleDriverInfo(r)
	default:
		return ruleEarlyInfo(r)
	}
}

func ruleKernelInfo(r Reason) Info {
	switch r {
	case NoTerminalAction:
		return Info{
			"no-terminal-action", "the rule neither accepts, drops, forwards nor copies: there is no action that hardware could take",
			"nothing, or end the rule in a verdict", "net/netfilter/nf_tables_offload.c nft_flow_rule_create", "",
		}
	case ExprNotSupported:
		return Info{
			"expr-not-supported", "the kernel's chain offload does not know this expression or statement",
			"leave it to nft-offload, which expands sets and ranges itself; else match with ==, without sets", "net/netfilter/nf_tables_offload.c (expressions without .offload)", "",
		}
	case FieldNotSupported:
		return Info{
			"field-not-supported", "the kernel's chain offload does not know this header field",
			"match on addresses, protocol or ports; or leave the rule to XDP", "net/netfilter/nft_payload.c nft_payload_offload", "",
		}
	case MatchOpNotEq:
		return Info{
			"match-op-not-eq", "the kernel's chain offload compares for equality only: no !=, < or >, and so no ranges",
			"write what matches instead of what does not, or leave the rule to XDP", "net/netfilter/nft_cmp.c __nft_cmp_offload", "",
		}
	case BitwiseNotMask:
		return Info{
			"bitwise-not-mask", "the kernel's chain offload takes a mask over a whole field, no other operation on bits",
			"match a prefix or a whole field", "net/netfilter/nft_bitwise.c nft_bitwise_offload", "",
		}
	case MergedPayload:
		return Info{
			"merged-payload", "nft loads neighboring fields at once, which the kernel's chain offload takes for one field that is too long",
			"nothing: nft-offload splits them; by hand, put `counter` between the two matches", "nftables src/rule.c stmt_reduce, net/netfilter/nft_payload.c", "",
		}
	case FieldMatchedTwice:
		return Info{
			"field-matched-twice", "the rule matches one field twice; hardware would see the second match only",
			"write the intersection as one match", "net/netfilter/nft_cmp.c __nft_cmp_offload", "",
		}
	case MissingL3Dep:
		return Info{
			"missing-l3-dep", "a network header field is matched and nothing says which protocol it belongs to",
			"add `meta protocol ip` or `meta protocol ip6`", "net/netfilter/nft_payload.c nft_payload_offload_nh", "",
		}
	case MissingL4Dep:
		return Info{
			"missing-l4-dep", "a transport header field is matched and nothing says which protocol it belongs to",
			"add `meta l4proto tcp` or `meta l4proto udp`", "net/netfilter/nft_payload.c nft_payload_offload_th", "",
		}
	case IifnameNotIfindex:
		return Info{
			"iifname-not-ifindex", "the kernel's chain offload knows devices by index: `iif`, not `iifname`",
			"write `iif`, or leave it out: a netdev chain names its device", "net/netfilter/nft_meta.c nft_meta_get_offload", "",
		}
	case VerdictNotAcceptDrop:
		return Info{
			"verdict-not-accept-drop", "the kernel's chain offload knows the verdicts accept and drop",
			"write the rules of the other chain in place of jump or goto", "net/netfilter/nft_immediate.c nft_immediate_offload_verdict", "",
		}
	case PrefixMaskBug:
		return Info{
			"prefix-mask-bug", "this kernel programs too long a mask for a part of an IPv6 or MAC address (CVE-2026-74579)",
			"leave the rule to nft-offload, or use a fixed kernel", "net/netfilter/nft_payload.c nft_payload_offload_mask", "before 5.10.265, 5.15.216, 6.1.183, 6.6.151, 6.12.103, 6.18.44, 7.1.8",
		}
	case TooManyActions:
		return Info{
			"too-many-actions", "the rule has more actions than a hardware rule can carry",
			"split the rule", "net/netfilter/nf_tables_offload.h nft_flow_action_entry_next", "7.1 and later say so",
		}
	case FwdToAddress:
		return Info{
			"fwd-to-address", "`fwd ip to ADDRESS` asks for a neighbor's MAC address, which only the kernel knows",
			"`fwd to DEVICE`, where both sides can do without", "net/netfilter/nft_fwd_netdev.c nft_fwd_neigh_netdev_ops", "",
		}
	default:
		return Info{}
	}
}

func ruleDriverInfo(r Reason) Info {
	const matrix = ", read in Linux 7.1.5"
	switch r {
	case NoFlower:
		return Info{
			"no-flower", "the device's driver takes no match-action rules (TC_SETUP_CLSFLOWER)",
			"leave the rule to XDP, or use another NIC (`nft-offload doctor`)", "include/linux/netdevice.h ndo_setup_tc, net/core/flow_offload.c flow_indr_dev_setup_offload", "",
		}
	case KeyNotSupported:
		return Info{
			"key-not-supported", "the driver does not match on a field of this rule",
			"match on what the driver knows (see its profile), or leave the rule to XDP", "the driver's flower code" + matrix, "",
		}
	case PartialMaskNotSupported:
		return Info{
			"partial-mask-not-supported", "the driver matches this field whole, not by prefix or mask",
			"match whole values", "igb_main.c igb_parse_cls_flower, bnxt_tc.c bnxt_tc_can_offload" + matrix, "",
		}
	case ActionNotSupported:
		return Info{
			"action-not-supported", "the driver does not take this action from rules like this one",
			"leave the rule to XDP", "the driver's flower code" + matrix, "",
		}
	case NeedsHwTc:
		return Info{
			"needs-hw-tc", "the driver takes rules that steer to a traffic class only, which nftables has no words for",
			"leave the rule to XDP", "i40e_main.c i40e_configure_clsflower, igb_main.c igb_configure_clsflower" + matrix, "",
		}
	case NeedsEthertype:
		return Info{
			"needs-ethertype", "the driver takes rules for one Ethertype only",
			"add `meta protocol ip` or `meta protocol ip6`", "netronome/nfp/flower/offload.c nfp_flower_calculate_key_layers, bnxt_tc.c" + matrix, "",
		}
	case NeedsControlKey:
		return Info{
			"needs-control-key", "the driver takes rules that match on an IP address only",
			"add `ip saddr 0.0.0.0/0`-like matches by tc, or leave the rule to XDP", "bnxt_tc.c bnxt_tc_parse_flow" + matrix, "",
		}
	case HardwareTableFull:
		return Info{
			"hardware-table-full", "the device has no room for this rule (ENOSPC), or not for all that its sets and ranges expand to",
			"put the rules that drop most first, and aggregate prefixes", "the driver's own answer to `tc filter add ... skip_sw`", "",
		}
	case RedirectTargetNotSameSwitch:
		return Info{
			"redirect-target-not-same-switch", "hardware forwards between its own ports only",
			"forward to a port of the same device, or leave the rule to XDP", "mellanox/mlx5/core/en/tc/act/mirred.c, bnxt_tc.c bnxt_tc_parse_redir" + matrix, "",
		}
	case ChainIDNotSupported:
		return Info{
			"chain-id-not-supported", "the driver wants rules in tc chains of its own numbering; those of nftables are in chain 0",
			"write the rule with tc", "microchip/vcap/vcap_tc.c, lan966x_tc_flower.c, sparx5_tc_flower.c" + matrix, "",
		}
	case NoHardwareCounter:
		return Info{
			"no-hardware-counter", "the driver gives nftables rules no counter, and this rule has one",
			"leave `counter` out, or leave the rule to nft-offload, whose tc rules are counted", "mellanox/mlxsw/spectrum_flower.c, prestera_flower.c (FLOW_ACTION_HW_STATS_DISABLED)" + matrix, "",
		}
	case ExpansionTooLarge:
		return Info{
			"expansion-too-large", "the rule's sets and ranges multiply to more hardware rules than are worth it",
			"aggregate prefixes and ports; XDP looks sets up whole", "design of nft-offload", "",
		}
	default:
		return Info{}
	}
}
