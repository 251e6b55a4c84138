package reason

func ruleEarlyInfo(r Reason) Info {
	const law = "design of nft-offload: offload changes speed, never a verdict or a side effect"
	switch r {
	case EarlierRuleNotDisjoint:
		return Info{
			"earlier-rule-not-disjoint", "an earlier rule of the chain may match the same packet, and is not executed as early",
			"move the rule above it, or make the two exclude each other", law, "",
		}
	case EarlierRuleOpaque:
		return Info{
			"earlier-rule-opaque", "an earlier rule of the chain has something that is not understood, and may do anything",
			"move the rule above it", law, "",
		}
	case EarlierChain:
		return Info{
			"earlier-chain", "a chain that comes before at the same hook and device has rules that are not executed as early",
			"give this chain a lower priority number than that one", "nft(8) CHAINS, priority", "",
		}
	case SideEffect:
		return Info{
			"side-effect", "the rule does more than decide (log, limit, quota, set update): early execution would not do that, or not the same",
			"put the statement in a rule of its own, below", law, "",
		}
	case AcceptNotFinal:
		return Info{
			"accept-not-final", "accept ends this chain only, later chains may still drop: early, it means \"leave it to the kernel\"",
			"nothing: the packet goes on as it did", "nft(8) VERDICT STATEMENT, net/netfilter/core.c nf_hook_slow", "",
		}
	case OpaqueStatement:
		return Info{
			"opaque", "the rule has something that is not understood, which is kept but never offloaded",
			"say it with other expressions, or report the statement", law, "",
		}
	case RuleMisread:
		return Info{
			"rule-misread", "what nft lists of the rule is not what the kernel executes: loaded again, it would be another rule",
			"write the rule as nft lists it (`nft list ruleset`), if that is meant; else leave it to nftables",
			"measured with nft 1.0.6, which leaves `ether type ip` out in front of `ip saddr`", "",
		}
	case HookNotEarly:
		return Info{
			"hook-not-early", "only rules of ingress chains can run before the packet is routed; this hook comes later",
			"nothing; for established flows `flow add` is the way round it", "include/uapi/linux/netfilter.h nf_inet_hooks", "",
		}
	case FamilyNotNetdev:
		return Info{
			"family-not-netdev", "only ingress chains of family netdev or inet belong to a device; this family's do not",
			"put stateless drops into `table netdev`", "nft(8) ADDRESS FAMILIES", "",
		}
	case StatefulMatch:
		return Info{
			"stateful-match", "the rule asks for something that the kernel finds out later: conntrack, sockets, routing",
			"nothing, or match on header fields", "net/core/dev.c __netif_receive_skb_core (ingress comes before conntrack)", "",
		}
	case MatchNotEarly:
		return Info{
			"match-not-early", "the rule matches on something that is not in the frame as XDP and hardware see it",
			"match on header fields", "Documentation/networking/filter.rst, include/uapi/linux/bpf.h struct xdp_md", "",
		}
	case SetDynamic:
		return Info{
			"set-dynamic", "rules change the set while packets pass: a copy of it would lag behind",
			"nothing, or fill the set from outside", "nft(8) SET STATEMENT", "",
		}
	case VerdictNotEarly:
		return Info{
			"verdict-not-early", "the rule's verdict needs the kernel: reject answers, queue and tproxy hand over",
			"drop instead of reject, where silence will do", "nft(8) REJECT STATEMENT, QUEUE STATEMENT", "",
		}
	case MangleNotEarly:
		return Info{
			"mangle-not-early", "the rule writes a header field or mark that later rules may read",
			"nothing", law, "",
		}
	case FwdTargetNotEarly:
		return Info{
			"fwd-target-not-early", "the device that the rule sends to takes no frames from XDP",
			"see `nft-offload doctor` for that device", "include/uapi/linux/netdev.h NETDEV_XDP_ACT_NDO_XMIT", "",
		}
	case RuleNeverMatches:
		return Info{
			"rule-never-matches", "the rule's matches exclude each other: no packet meets all of them",
			"remove or correct the rule", "nft(8) EXPRESSIONS", "",
		}
	case RuleNotReached:
		return Info{
			"rule-not-reached", "an earlier rule decides for every packet that this one would match, or nothing jumps to its chain",
			"move the rule up, or remove it", "nft(8) CHAINS, VERDICT STATEMENT", "",
		}
	case MapJumps:
		return Info{
			"map-jumps", "elements of the verdict map jump to other chains, and may become others while packets pass",
			"`flags constant` for the map, or rules that jump", "nft(8) VERDICT MAPS", "",
		}
	case MatchNoPlace:
		return Info{
			"match-no-place", "the rule reads an option, an extension header or a chunk: where it is, and whether, depends on what is before it",
			"nothing, or match on a field of a fixed place", "net/netfilter/nft_exthdr.c", "",
		}
	case TableOwned:
		return Info{
			"table-owned", "the table belongs to a process (`flags owner`) and is gone with its socket: nf_tables may not say so, and rules executed early would stay",
			"`flags owner, persist` (Linux 6.9), or a table without an owner", "net/netfilter/nf_tables_api.c nft_rcv_nl_event", "",
		}
	case NoDeviceEarly:
		return Info{
			"no-device-early", "none of the chain's devices can execute rules early",
			"see the reasons of the devices (`nft-offload doctor`)", law, "",
		}
	default:
		return Info{}
	}
}
