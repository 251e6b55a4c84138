package conntrack

import (
	"fmt"
	"strings"
)

// Status is the status word of a connection (enum ip_conntrack_status,
// include/uapi/linux/netfilter/nf_conntrack_common.h).
type Status uint32

// The bits of Status.
const (
	Expected     Status = 1 << 0 // set up by an expectation of another connection
	SeenReply    Status = 1 << 1
	Assured      Status = 1 << 2 // never dropped early when the table is full
	Confirmed    Status = 1 << 3 // its first packet left the machine
	SrcNAT       Status = 1 << 4
	DstNAT       Status = 1 << 5
	SeqAdjust    Status = 1 << 6
	SrcNATDone   Status = 1 << 7
	DstNATDone   Status = 1 << 8
	Dying        Status = 1 << 9
	FixedTimeout Status = 1 << 10 // its timeout may not be changed
	Template     Status = 1 << 11
	NATClash     Status = 1 << 12 // IPS_UNTRACKED in older headers
	HelperSet    Status = 1 << 13 // helper assigned by a rule
	Offload      Status = 1 << 14 // in a flowtable or in act_ct's table
	HWOffload    Status = 1 << 15 // and in hardware
)

// Has reports whether all bits of want are set.
func (s Status) Has(want Status) bool { return s&want == want }

// String names the bits, in the words of conntrack(8) and nft where they have one.
func (s Status) String() string {
	return bitNames(uint32(s), []string{
		"expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "seq-adjust", "snat-done", "dnat-done",
		"dying", "fixed-timeout", "template", "nat-clash", "helper", "offload", "hw-offload",
	})
}

// TCPFlags is what conntrack remembers about one direction of a TCP connection
// (IP_CT_TCP_FLAG_*, include/uapi/linux/netfilter/nf_conntrack_tcp.h).
type TCPFlags uint8

// The bits of TCPFlags.
const (
	WindowScale        TCPFlags = 0x01 // the SYN carried the option
	SACKPermitted      TCPFlags = 0x02
	CloseInit          TCPFlags = 0x04 // this side sent the first FIN
	BeLiberal          TCPFlags = 0x08 // packets out of the window are not INVALID
	DataUnacknowledged TCPFlags = 0x10 // shortens the timeout to nf_conntrack_tcp_timeout_unacknowledged
	MaxACKSet          TCPFlags = 0x20 // the highest ACK is known: a RST behind it is INVALID
	ChallengeACK       TCPFlags = 0x40 // a challenge ACK is expected
	SimultaneousOpen   TCPFlags = 0x80
)

// String names the bits.
func (f TCPFlags) String() string {
	return bitNames(uint32(f), []string{
		"window-scale", "sack", "close-init", "liberal", "unacknowledged", "maxack", "challenge-ack", "simultaneous-open",
	})
}

func bitNames(v uint32, names []string) string {
	if v == 0 {
		return "none"
	}
	var out []string
	for i, n := range names {
		if v&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	if rest := v >> len(names) << len(names); rest != 0 {
		out = append(out, fmt.Sprintf("%#x", rest))
	}
	return strings.Join(out, ",")
}

// TCPState is conntrack's view of a TCP connection (enum tcp_conntrack).
type TCPState uint8

// The states; the order is the kernel's.
const (
	TCPNone TCPState = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastACK
	TCPTimeWait
	TCPClose
	TCPSynSent2
)

// String returns the name that conntrack(8) prints.
func (s TCPState) String() string {
	names := [...]string{
		"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("TCP_STATE_%d", uint8(s))
}
