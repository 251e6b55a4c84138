package reason

// What nft-offload's own programs say of a packet. Their numbers are those of package datapath.

// Fast is that the packet was carried.
const Fast Reason = firstCarried

// Why a packet is for the kernel as it arrives.
const (
	SlowNotIP Reason = Fast + 1 + iota
	SlowEncap
	SlowNotTCPUDP
	SlowMalformed
	SlowIPOptions
	SlowExtHeader
	SlowFragment
	SlowTTL
	SlowIPChecksum
	SlowTCPFlags
	SlowUDPNoChecksum
	SlowPartialChecksum
	SlowPadding
	SlowNoMemory
)

// What the flow's entry says, or that there is none.
const (
	EntryMiss Reason = SlowNoMemory + 1 + iota
	EntryNotReady
	EntryDead
	EntryOtherHook
	EntryMAC
	EntryDSCP
	EntryTooLong
	EntryRenewal
	EntryExpired
	EntryGeneration
	EntryCTGone
	EntryRecycled
)

const firstSeen = EntryRecycled + 1

func slowInfo(r Reason) Info {
	const (
		legal = "nothing: the kernel handles such packets"
		bpf   = "internal/datapath/bpf/"
	)
	switch r {
	case Fast:
		return Info{"fast", "forwarded by the fast path", "nothing", "design of nft-offload", ""}
	case SlowNotIP:
		return Info{"not-ip", "neither IPv4 nor IPv6 (ARP and the like)", "nothing", bpf + "nfo.bpf.c", ""}
	case SlowEncap:
		return Info{"encapsulated", "PPPoE session header, a third VLAN tag, or a tag at XDP", "PPPoE is carried on the ppp device, tags at tc (--device DEV=tc)", bpf + "nfo.bpf.c", ""}
	case SlowNotTCPUDP:
		return Info{"not-tcp-udp", "neither TCP nor UDP", "nothing", bpf + "parse.h", ""}
	case SlowMalformed:
		return Info{"malformed", "header or length field that does not fit the packet", legal, bpf + "parse.h", ""}
	case SlowIPOptions:
		return Info{"ip-options", "IPv4 options", legal, bpf + "parse.h", ""}
	case SlowExtHeader:
		return Info{"ipv6-extension-header", "IPv6 extension header", legal, bpf + "parse.h", ""}
	case SlowFragment:
		return Info{"fragment", "IP fragment: its ports are in another packet", "avoid fragments: clamp the MSS, lower the sender's MTU", bpf + "parse.h", ""}
	case SlowTTL:
		return Info{"ttl", "TTL or hop limit ends here: the kernel answers with ICMP", "nothing", bpf + "parse.h", ""}
	case SlowIPChecksum:
		return Info{"ip-checksum", "wrong IPv4 header checksum: the kernel drops it", "look for a broken device on the path", bpf + "parse.h", ""}
	case SlowTCPFlags:
		return Info{"tcp-flags", "SYN, FIN, RST or URG: conntrack must see it", "nothing", bpf + "parse.h", ""}
	case SlowUDPNoChecksum:
		return Info{"udp-no-checksum", "UDP over IPv6 without checksum", legal, bpf + "parse.h", ""}
	case SlowPartialChecksum:
		return Info{"partial-checksum", "a local sender left the checksum to the device, which XDP cannot finish", "run this device at tc (--device DEV=tc), or switch the sender's tx checksum offload off", bpf + "family_forward.h", ""}
	case SlowPadding:
		return Info{"padding", "trailing bytes that could not be cut off", "nothing", bpf + "rewrite.h", ""}
	case SlowNoMemory:
		return Info{"no-memory", "no memory to change the frame's header; dropped", "see the kernel log", bpf + "link.h", ""}
	default:
		return Info{}
	}
}

func entryInfo(r Reason) Info {
	const (
		wait = "nothing: the next packets are carried"
		bpf  = "internal/datapath/bpf/"
	)
	switch r {
	case EntryMiss:
		return Info{"no-entry", "no entry for this flow and device", "see the reasons of the observer", bpf + "family_forward.h", ""}
	case EntryNotReady:
		return Info{"not-ready", "entry waits for its other direction or for the daemon", wait, bpf + "fast.h", ""}
	case EntryDead:
		return Info{"ended", "entry ended (FIN, RST, contradiction) and is about to be deleted", "nothing", bpf + "fast.h", ""}
	case EntryOtherHook:
		return Info{"other-hook", "entry belongs to the other program of this device", "nothing", bpf + "fast.h", ""}
	case EntryMAC:
		return Info{"mac", "another source or destination MAC address or VLAN tag than the flow's", "nothing", bpf + "fast.h", ""}
	case EntryDSCP:
		return Info{"dscp", "another DSCP than the flow's, which may choose route or priority", "nothing", bpf + "fast.h", ""}
	case EntryTooLong:
		return Info{"too-long", "longer than what the kernel forwarded whole within this lease", wait, bpf + "fast.h", ""}
	case EntryRenewal:
		return Info{"renewal", "the lease was due; this packet renews it", "nothing", bpf + "fast.h", ""}
	case EntryExpired:
		return Info{"lease-expired", "no renewal within the hard limit", "the kernel dropped the renewals, or the flow was idle", bpf + "fast.h", ""}
	case EntryGeneration:
		return Info{"generation", "ruleset, route, neighbour or link changed since the last renewal", wait, bpf + "fast.h", ""}
	case EntryCTGone:
		return Info{"conntrack-gone", "the conntrack entry was deleted", "nothing", bpf + "family_forward.h", ""}
	case EntryRecycled:
		return Info{"recycled", "entry was deleted under the reader's hands", "nothing", bpf + "fast.h", ""}
	default:
		return Info{}
	}
}
