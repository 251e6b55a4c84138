package reason

// What nft-offload's observer says of a packet that the kernel forwarded: what it learned, or why it learned nothing.
const (
	SeenLearned Reason = firstSeen + iota
	SeenRenewed
	SeenNoNote
	SeenNoteOld
	SeenAltered
	SeenCopied
	SeenRedirected
	SeenIPsec
	SeenEgressEncap
	SeenUntracked
	SeenNotAdded
	SeenCTState
	SeenHelper
	SeenZone
	SeenTupleMismatch
	SeenTCPState
	SeenNotLiberal
	SeenNoReply
	SeenOneWay
	SeenMinPackets
	SeenContradiction
	SeenTableFull
	SeenAdjacenciesFull
	SeenUnknownDevice
	SeenDeviceRefused
	SeenHeld
)

const end = SeenHeld + 1

func seenInfo(r Reason) Info {
	const bpf = "internal/datapath/bpf/"
	switch r {
	case SeenLearned:
		return Info{"learned", "a new entry was made", "nothing", bpf + "observe.h", ""}
	case SeenRenewed:
		return Info{"renewed", "a lease was renewed", "nothing", bpf + "observe.h", ""}
	case SeenNoNote:
		return Info{"no-note", "not counted any more", "nothing", bpf + "reasons.h", ""}
	case SeenNoteOld:
		return Info{"queued", "packet was held in the kernel for more than 100 ms (NFQUEUE)", "a queue that answers so slowly keeps its flows slow", bpf + "observe.h", ""}
	case SeenAltered:
		return Info{"altered", "the kernel changed more than addresses, ports and TTL", "a rule mangles this flow; it stays slow", bpf + "observe.h", ""}
	case SeenCopied:
		return Info{"copied", "the kernel sends copies of this packet", "nothing", bpf + "learn.h", ""}
	case SeenRedirected:
		return Info{"redirected", "another program or rule redirected the packet", "nothing", bpf + "observe.h", ""}
	case SeenIPsec:
		return Info{"ipsec", "packet came out of an IPsec tunnel", "nothing", bpf + "observe.h", ""}
	case SeenEgressEncap:
		return Info{"egress-encapsulated", "leaves with a PPPoE header or a third VLAN tag", "PPPoE is carried on the ppp device: list that in the flowtable", bpf + "observe.h", ""}
	default:
		return seenFlowInfo(r)
	}
}

func seenFlowInfo(r Reason) Info {
	const (
		wait = "nothing: the next packets are carried"
		bpf  = "internal/datapath/bpf/"
	)
	switch r {
	case SeenUntracked:
		return Info{"untracked", "no conntrack entry (notrack, or not tracked here)", "remove notrack for this flow", bpf + "observe.h", ""}
	case SeenNotAdded:
		return Info{"not-added", "no rule handed the flow to `flow add`, or not on this device", "see `nft list ruleset` for the flow add rule and its devices", bpf + "observe.h", ""}
	case SeenCTState:
		return Info{"conntrack-state", "conntrack entry is new, unconfirmed, dying or sequence-adjusted", wait, bpf + "conntrack.h", ""}
	case SeenHelper:
		return Info{"helper", "a conntrack helper (ftp, sip) watches this flow", "flows with helpers stay slow", bpf + "conntrack.h", ""}
	case SeenZone:
		return Info{"zone", "conntrack zone other than 0", "flows in zones stay slow", bpf + "conntrack.h", ""}
	case SeenTupleMismatch:
		return Info{"tuple", "packet and conntrack entry disagree", "nothing", bpf + "observe.h", ""}
	case SeenTCPState:
		return Info{"tcp-state", "TCP connection is not established and assured", wait, bpf + "conntrack.h", ""}
	case SeenNotLiberal:
		return Info{"not-liberal", "waits for the daemon to set the connection's BE_LIBERAL", "start `nft-offload run`", bpf + "learn.h", ""}
	case SeenNoReply:
		return Info{"no-reply", "UDP flow without a reply so far", "nothing", bpf + "conntrack.h", ""}
	case SeenOneWay:
		return Info{"one-way", "only one direction was seen on these devices", "the reply takes another way (asymmetric routing) or has not come yet", bpf + "learn.h", ""}
	case SeenMinPackets:
		return Info{"min-packets", "flow is shorter than --min-packets", "nothing", bpf + "family_forward.h", ""}
	case SeenContradiction:
		return Info{"contradiction", "the kernel now forwards the flow another way; both directions end and are learned again", wait, bpf + "learn.h", ""}
	case SeenTableFull:
		return Info{"table-full", "the flow table is full", "raise --max-flows", bpf + "family_learn.h", ""}
	case SeenAdjacenciesFull:
		return Info{"adjacencies-full", "too many different neighbors, packet marks and priorities", "set fewer different marks and priorities on forwarded packets", bpf + "learn.h", ""}
	case SeenUnknownDevice:
		return Info{"unknown-device", "the flow's other device is not in the flowtable", "add the device to the flowtable", bpf + "observe.h", ""}
	case SeenDeviceRefused:
		return Info{"device-refused", "a fast packet would bypass something that slow ones pass on this device", "see the device's reason in `nft-offload status`", bpf + "observe.h", ""}
	case SeenHeld:
		return Info{"held", "the administrator holds this flow on the slow path", "`nft-offload flows release`", bpf + "observe.h", ""}
	default:
		return Info{}
	}
}
