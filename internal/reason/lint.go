package reason

// What a user loses or risks by offloading, or does not get: the findings of package lint. Some belong to a flowtable or
// a kernel and have their reason there.
const (
	// The flow add that does nothing.
	FlowAddNotReached Reason = firstLint + iota
	FlowAddPartlyReached
	FlowAddNotForward
	FlowAddDormant
	FlowAddAnyState
	FlowAddAnyProtocol
	FlowAddNewOnly
	FlowAddNeverProtocol
	FlowAddOtherDevices
	FlowAddBeforeDrop
	NoFlowAdd
	// What established flows do not see any more.
	LimitSkipped
	QuotaSkipped
	LogSkipped
	CounterSkipped
	MangleSkipped
	SetUpdateSkipped
	QueueSkipped
	ConnlimitSkipped
	DropSkipped
	TimedRuleSkipped
	OtherStatementSkipped
	AccountingLost
	// Paths and devices.
	QdiscSkipped
	HelperFlows
	ReversePathFilter
	PolicyRouting
	ConntrackZones
	NotrackRule
	BridgeFamilyRules
	NetdevRulesSkipped
	// Whether it is worth it.
	NotWorthIt
	HardwareBufferbloat
)

const firstUse = HardwareBufferbloat + 1

func lintInfo(r Reason) Info {
	switch {
	case r <= NoFlowAdd:
		return lintReachInfo(r)
	case r <= AccountingLost:
		return lintSkippedInfo(r)
	default:
		return lintPathInfo(r)
	}
}

func lintReachInfo(r Reason) Info {
	const order = "net/netfilter/nf_tables_core.c nft_do_chain (a verdict ends the chain)"
	switch r {
	case FlowAddNotReached:
		return Info{
			"flow-add-not-reached", "no packet reaches this `flow add`: earlier rules decide for every packet that it could offload, so it offloads nothing, ever",
			"move the rule above the one that decides", order + "; gh:firewalld/firewalld#1556", "",
		}
	case FlowAddPartlyReached:
		return Info{
			"flow-add-partly-reached", "an earlier rule decides for some of the protocols that this `flow add` is for",
			"move the rule above the one that decides", order, "",
		}
	case FlowAddNotForward:
		return Info{
			"flow-add-not-forward", "`flow add` works in forward chains and in chains that only these jump to; the kernel refuses it elsewhere",
			"move the rule to a chain with `hook forward`", "net/netfilter/nft_flow_offload.c nft_flow_offload_validate", "",
		}
	case FlowAddDormant:
		return Info{
			"flow-add-dormant", "the table with this `flow add` is dormant: nothing is offloaded",
			"state the table anew without `flags dormant`", "nft(8) TABLES, flags dormant", "",
		}
	case FlowAddAnyState:
		return Info{
			"flow-add-any-state", "`flow add` without a conntrack state runs for each packet and does nothing for new connections; UDP flows are offloaded from their second packet on, before there is an answer",
			"`ct state established` before `flow add`", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval", "",
		}
	case FlowAddAnyProtocol:
		return Info{
			"flow-add-any-protocol", "`flow add` without a protocol covers TCP, UDP and GRE without NAT; all other protocols stay slow",
			"nothing; `meta l4proto { tcp, udp }` says it, and spares the other packets the attempt", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval", "",
		}
	case FlowAddNewOnly:
		return Info{
			"flow-add-new-only", "`flow add` for packets of new connections only: their conntrack entry is not confirmed yet, or the TCP connection not established",
			"`ct state established` before `flow add`", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval (nf_ct_is_confirmed)", "",
		}
	case FlowAddNeverProtocol:
		return Info{
			"flow-add-never-protocol", "`flow add` for a protocol that is never offloaded: TCP, UDP and GRE are",
			"`meta l4proto { tcp, udp }`", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval", "",
		}
	case FlowAddOtherDevices:
		return Info{
			"flow-add-other-devices", "`flow add` for packets of a device that the flowtable does not list",
			"list the device in the flowtable", "net/netfilter/nf_flow_table_ip.c (the lookup runs on listed devices)", "",
		}
	case FlowAddBeforeDrop:
		return Info{
			"flow-add-before-drop", "`flow add` takes flows that a rule below it drops: the flow's next packets pass without meeting that rule",
			"move `flow add` below the drop", "net/netfilter/nft_flow_offload.c (flow add is no verdict), nf_flow_table_ip.c; gh:QubesOS/qubes-issues#8212", "",
		}
	case NoFlowAdd:
		return Info{
			"no-flow-add", "the ruleset forwards and has no `flow add`: nothing is offloaded",
			"`nft-offload enable DEV DEV...` adds a table of its own that does it", "nft(8) FLOWTABLES", "",
		}
	default:
		return Info{}
	}
}

func lintSkippedInfo(r Reason) Info {
	const bypass = "net/netfilter/nf_flow_table_ip.c (offloaded packets skip prerouting, forward and postrouting)"
	const later = "exclude these flows before `flow add`, by the same matches and `return` or a negation"
	switch r {
	case LimitSkipped:
		return Info{"limit-skipped", "a limit that packets of offloaded flows do not meet: the rate is not limited", later + "; or shape with tc", bypass + "; gh:projectcalico/calico#13495", ""}
	case QuotaSkipped:
		return Info{"quota-skipped", "a quota that packets of offloaded flows do not meet: it is never used up", later, bypass, ""}
	case LogSkipped:
		return Info{"log-skipped", "a log that packets of offloaded flows do not meet: only the first ones of a flow are logged", "log new connections: `ct state new log`", bypass, ""}
	case CounterSkipped:
		return Info{"counter-skipped", "a counter that packets of offloaded flows do not meet: it counts a few packets of each flow", "count by conntrack: `counter` in the flowtable and nf_conntrack_acct, or `nft-offload flows`", bypass + "; gh:projectcalico/calico#13496, gh:openwrt/openwrt#10399", ""}
	case MangleSkipped:
		return Info{"mangle-skipped", "a rule that writes a mark, priority or header field, which packets of offloaded flows keep as they came", later + "; DSCP and marks may be set by tc (`ctinfo`, `skbedit`)", bypass + "; gh:hudra0/qosmate#86", ""}
	case SetUpdateSkipped:
		return Info{"set-update-skipped", "a set or map that packets of offloaded flows do not update: its elements time out while the flow goes on", "update it for new connections, with a timeout that fits", bypass, ""}
	case QueueSkipped:
		return Info{"queue-skipped", "a queue that packets of offloaded flows do not meet: the program behind it (IDS, DPI) sees the first packets only", later + ", for instance `ct original packets 1-20 return`", bypass + "; gh:bol-van/zapret2#188", ""}
	case ConnlimitSkipped:
		return Info{"connlimit-skipped", "a connection count that packets of offloaded flows do not meet; connections are counted when they are new", "`ct state new ct count over N drop`", bypass + "; gh:projectcalico/calico#13495", ""}
	case DropSkipped:
		return Info{"drop-skipped", "a rule that drops packets of established flows, which offloaded ones do not meet: a flow that is in the flowtable cannot be stopped by it", "`conntrack -D` after the set or ruleset changes; nft-offload asks the ruleset again within its lease", bypass + "; gh:QubesOS/qubes-issues#8212, gh:arch-anes/self-hosted-services#836", ""}
	case TimedRuleSkipped:
		return Info{"timed-rule-skipped", "a rule that depends on the time of day, which offloaded flows do not meet: they go on past the hour", "`conntrack -D` at that hour", bypass, ""}
	case OtherStatementSkipped:
		return Info{"statement-skipped", "a statement that packets of offloaded flows do not meet", later, bypass, ""}
	case AccountingLost:
		return Info{"accounting-lost", "the flowtable has no `counter`: conntrack does not count the packets of its flows", "`counter` in the flowtable, and nf_conntrack_acct", "net/netfilter/nf_flow_table_ip.c NF_FLOWTABLE_COUNTER; gh:openwrt/openwrt#10399", "5.7 and later have the flag"}
	default:
		return Info{}
	}
}

func lintPathInfo(r Reason) Info {
	switch r {
	case QdiscSkipped:
		return Info{"qdisc-skipped", "a device of the flowtable has a qdisc that shapes, which flows in hardware never reach; in software they keep their first packet's mark and priority at most", "no `flags offload` on shaped devices; nft-offload replays mark and priority", "net/netfilter/nf_flow_table_offload.c; gh:tohojo/sqm-scripts#193", ""}
	case HelperFlows:
		return Info{"helper-flows", "flows with a conntrack helper are never offloaded", "assign the helper to the ports that need it, not to all traffic", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval (nfct_help)", ""}
	case ReversePathFilter:
		return Info{"reverse-path-filter", "a reverse path filter drops packets whose way back differs; in the flowtable they pass, and flows that go and come by different devices are not offloaded", "nothing, or route both directions by one device", "nft(8) FIB EXPRESSIONS; gh:openwrt/openwrt#24873", ""}
	case PolicyRouting:
		return Info{"policy-routing", "marks choose routes: a flow in the flowtable keeps its route when its mark or the rules change, and is not added where the way back has another mark", "`conntrack -D` after a change of uplink; save and restore the mark in both directions before `flow add`", "net/netfilter/nf_flow_table_path.c nft_flow_route; gh:openwrt/packages#5943", ""}
	case ConntrackZones:
		return Info{"conntrack-zones", "conntrack zones: flowtable entries do not carry one, and nft-offload keeps such flows slow", "nothing, or do without zones on offloaded devices", "include/net/netfilter/nf_flow_table.h struct flow_offload_tuple", ""}
	case NotrackRule:
		return Info{"notrack-rule", "untracked packets are never offloaded", "nothing; track the flows that should be fast", "net/netfilter/nft_flow_offload.c nft_flow_offload_eval (nf_ct_get)", ""}
	case BridgeFamilyRules:
		return Info{"bridge-rules-skipped", "chains of family bridge do not see packets of offloaded flows", "move these rules to the forward hook of family inet, before `flow add`", "net/netfilter/nf_flow_table_path.c FLOW_OFFLOAD_XMIT_DIRECT", ""}
	case NetdevRulesSkipped:
		return Info{"netdev-chain-later", "an ingress chain that comes after the flowtable's priority does not see packets of offloaded flows", "give the chain a lower priority number than the flowtable", "net/netfilter/nf_tables_api.c nft_flowtable_parse_hook (priority), net/netfilter/core.c", ""}
	case NotWorthIt:
		return Info{"not-worth-it", "no link is faster than 1 Gbit/s and the machine has CPUs enough: the slow path can fill the links", "measure first: `mpstat -P ALL 1` under load", "gh:sol1/shorewall-nft#3, gh:aabc/ipt-ratelimit#29", ""}
	case HardwareBufferbloat:
		return Info{"hardware-bufferbloat", "flows in hardware pass no qdisc: queues build up in the device where links differ in speed", "leave `flags offload` out where the CPU suffices", "gh:openwrt/openwrt#19449", ""}
	default:
		return Info{}
	}
}
