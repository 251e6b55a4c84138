// Package packet holds packets as values: tuples, headers and checksums, and builders for frames.
// It is pure: no sockets, no clocks. It is not a general decoder; it knows what the datapath knows
// (Ethernet, IPv4, IPv6, TCP, UDP) and reports anything else as such.
package packet

import (
	"fmt"
	"net/netip"
)

// IP protocol numbers the fast path carries (IANA protocol-numbers).
const (
	TCP uint8 = 6
	UDP uint8 = 17
)

// Tuple is one direction of a flow: addresses, ports in host byte order, and the IP protocol number.
type Tuple struct {
	Src, Dst netip.AddrPort
	Proto    uint8
}

// Reverse returns the tuple of the opposite direction when nothing is translated.
func (t Tuple) Reverse() Tuple { return Tuple{Src: t.Dst, Dst: t.Src, Proto: t.Proto} }

// Is4 reports whether the tuple is IPv4.
func (t Tuple) Is4() bool { return t.Src.Addr().Is4() }

// String renders the tuple as "tcp 10.0.0.2:1234 > 198.51.100.1:443".
func (t Tuple) String() string {
	return fmt.Sprintf("%s %s > %s", ProtoName(t.Proto), t.Src, t.Dst)
}

// ProtoName returns the protocol's name in lower case, or its number.
func ProtoName(p uint8) string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprint(p)
}
