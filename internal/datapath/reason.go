package datapath

// Reason says why a packet took the slow path, or why the observer learned nothing from it.
// The numbers are those of enum reason in bpf/reasons.h.
type Reason uint32

// The reasons, in the order of bpf/reasons.h.
const (
	Fast Reason = iota

	NotIP
	Encap
	NotTCPUDP
	Malformed
	IPOptions
	ExtHeader
	Fragment
	TTL
	IPChecksum
	TCPFlags
	UDPNoChecksum
	PartialChecksum
	Padding

	Miss
	NotReady
	Dead
	OtherHook
	MAC
	DSCP
	TooLong
	Renewal
	Expired
	Generation
	CTGone
	Recycled

	Learned
	Renewed
	NoNote
	NoteOld
	Altered
	Copied
	Redirected
	IPsec
	EgressEncap
	Untracked
	NotAdded
	CTState
	Helper
	Zone
	TupleMismatch
	TCPState
	NotLiberal
	NoReply
	OneWay
	MinPackets
	Contradiction
	TableFull
	AdjacenciesFull
	UnknownDevice
	DeviceRefused
	Held
	NoMemory

	numReasons
)

// Stage is where in a packet's journey a reason belongs.
type Stage uint8

// The stages.
const (
	StageFast    Stage = iota // carried
	StagePacket               // what arrived is not for the fast path
	StageTable                // what the entry, or its absence, says
	StageObserve              // what the observer says of a packet that the kernel forwarded
)

// Info describes a reason: a code that stays the same between releases, a sentence, and what a user can do.
type Info struct {
	Code   string
	Stage  Stage
	Text   string
	Advice string // empty where nothing is to be done
}

// Info returns the reason's description. An unknown number gets the code "unknown".
func (r Reason) Info() Info {
	if i, ok := reasonTable()[r]; ok {
		return i
	}
	return Info{Code: "unknown", Text: "a newer datapath counted this reason", Advice: "use the same version for daemon and command"}
}

// String returns the code.
func (r Reason) String() string { return r.Info().Code }

// Reasons returns every reason in order.
func Reasons() []Reason {
	all := make([]Reason, 0, numReasons)
	for r := range numReasons {
		all = append(all, r)
	}
	return all
}

func reasonTable() map[Reason]Info {
	const (
		wait  = "nothing: the next packets are carried"
		legal = "nothing: the kernel handles such packets"
	)
	return map[Reason]Info{
		Fast: {"fast", StageFast, "forwarded by the fast path", ""},

		NotIP:           {"not-ip", StagePacket, "neither IPv4 nor IPv6 (ARP and the like)", ""},
		Encap:           {"encapsulated", StagePacket, "PPPoE session header, a third VLAN tag, or a tag at XDP", "PPPoE is carried on the ppp device, tags at tc (--device DEV=tc)"},
		NotTCPUDP:       {"not-tcp-udp", StagePacket, "neither TCP nor UDP", ""},
		Malformed:       {"malformed", StagePacket, "header or length field that does not fit the packet", legal},
		IPOptions:       {"ip-options", StagePacket, "IPv4 options", legal},
		ExtHeader:       {"ipv6-extension-header", StagePacket, "IPv6 extension header", legal},
		Fragment:        {"fragment", StagePacket, "IP fragment: its ports are in another packet", "avoid fragments: clamp the MSS, lower the sender's MTU"},
		TTL:             {"ttl", StagePacket, "TTL or hop limit ends here: the kernel answers with ICMP", ""},
		IPChecksum:      {"ip-checksum", StagePacket, "wrong IPv4 header checksum: the kernel drops it", "look for a broken device on the path"},
		TCPFlags:        {"tcp-flags", StagePacket, "SYN, FIN, RST or URG: conntrack must see it", ""},
		UDPNoChecksum:   {"udp-no-checksum", StagePacket, "UDP over IPv6 without checksum", legal},
		PartialChecksum: {"partial-checksum", StagePacket, "a local sender left the checksum to the device, which XDP cannot finish", "run this device at tc (--device DEV=tc), or switch the sender's tx checksum offload off"},
		Padding:         {"padding", StagePacket, "trailing bytes that could not be cut off", ""},

		Miss:       {"no-entry", StageTable, "no entry for this flow and device", "see the reasons of the observer"},
		NotReady:   {"not-ready", StageTable, "entry waits for its other direction or for the daemon", wait},
		Dead:       {"ended", StageTable, "entry ended (FIN, RST, contradiction) and is about to be deleted", ""},
		OtherHook:  {"other-hook", StageTable, "entry belongs to the other program of this device", ""},
		MAC:        {"mac", StageTable, "another source or destination MAC address or VLAN tag than the flow's", ""},
		DSCP:       {"dscp", StageTable, "another DSCP than the flow's, which may choose route or priority", ""},
		TooLong:    {"too-long", StageTable, "longer than what the kernel forwarded whole within this lease", wait},
		Renewal:    {"renewal", StageTable, "the lease was due; this packet renews it", ""},
		Expired:    {"lease-expired", StageTable, "no renewal within the hard limit", "the kernel dropped the renewals, or the flow was idle"},
		Generation: {"generation", StageTable, "ruleset, route, neighbour or link changed since the last renewal", wait},
		CTGone:     {"conntrack-gone", StageTable, "the conntrack entry was deleted", ""},
		Recycled:   {"recycled", StageTable, "entry was deleted under the reader's hands", ""},

		Learned:         {"learned", StageObserve, "a new entry was made", ""},
		Renewed:         {"renewed", StageObserve, "a lease was renewed", ""},
		NoNote:          {"no-note", StageObserve, "not counted any more", ""},
		NoteOld:         {"queued", StageObserve, "packet was held in the kernel for more than 100 ms (NFQUEUE)", "a queue that answers so slowly keeps its flows slow"},
		Altered:         {"altered", StageObserve, "the kernel changed more than addresses, ports and TTL", "a rule mangles this flow; it stays slow"},
		Copied:          {"copied", StageObserve, "the kernel sends copies of this packet", ""},
		Redirected:      {"redirected", StageObserve, "another program or rule redirected the packet", ""},
		IPsec:           {"ipsec", StageObserve, "packet came out of an IPsec tunnel", ""},
		EgressEncap:     {"egress-encapsulated", StageObserve, "leaves with a PPPoE header or a third VLAN tag", "PPPoE is carried on the ppp device: list that in the flowtable"},
		Untracked:       {"untracked", StageObserve, "no conntrack entry (notrack, or not tracked here)", "remove notrack for this flow"},
		NotAdded:        {"not-added", StageObserve, "no rule handed the flow to `flow add`, or not on this device", "see `nft list ruleset` for the flow add rule and its devices"},
		CTState:         {"conntrack-state", StageObserve, "conntrack entry is new, unconfirmed, dying or sequence-adjusted", wait},
		Helper:          {"helper", StageObserve, "a conntrack helper (ftp, sip) watches this flow", "flows with helpers stay slow"},
		Zone:            {"zone", StageObserve, "conntrack zone other than 0", "flows in zones stay slow"},
		TupleMismatch:   {"tuple", StageObserve, "packet and conntrack entry disagree", ""},
		TCPState:        {"tcp-state", StageObserve, "TCP connection is not established and assured", wait},
		NotLiberal:      {"not-liberal", StageObserve, "waits for the daemon to set the connection's BE_LIBERAL", "start `nft-offload run`"},
		NoReply:         {"no-reply", StageObserve, "UDP flow without a reply so far", ""},
		OneWay:          {"one-way", StageObserve, "only one direction was seen on these devices", "the reply takes another way (asymmetric routing) or has not come yet"},
		MinPackets:      {"min-packets", StageObserve, "flow is shorter than --min-packets", ""},
		Contradiction:   {"contradiction", StageObserve, "the kernel now forwards the flow another way; both directions end and are learned again", wait},
		TableFull:       {"table-full", StageObserve, "the flow table is full", "raise --max-flows"},
		AdjacenciesFull: {"adjacencies-full", StageObserve, "too many different neighbors, packet marks and priorities", "set fewer different marks and priorities on forwarded packets"},
		UnknownDevice:   {"unknown-device", StageObserve, "the flow's other device is not in the flowtable", "add the device to the flowtable"},
		DeviceRefused:   {"device-refused", StageObserve, "a fast packet would bypass something that slow ones pass on this device", "see the device's reason in `nft-offload status`"},
		Held:            {"held", StageObserve, "the administrator holds this flow on the slow path", "`nft-offload flows release`"},
		NoMemory:        {"no-memory", StagePacket, "no memory to change the frame's header; dropped", "see the kernel log"},
	}
}
