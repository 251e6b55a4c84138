package packet

import (
	"encoding/binary"
	"net/netip"
)

// EtherTypes the package knows (IEEE 802 numbers).
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeVLAN uint16 = 0x8100 // 802.1Q
	EtherTypeQinQ uint16 = 0x88a8 // 802.1ad
)

// Lengths of headers without options, bytes.
const (
	EthernetLen = 14
	TagLen      = 4
	IPv4Len     = 20
	IPv6Len     = 40
	TCPLen      = 20
	UDPLen      = 8
)

// Offsets of fields, bytes from the start of their header.
const (
	ethDst, ethSrc, ethType = 0, 6, 12

	ip4VersionIHL, ip4TOS, ip4TotalLen, ip4ID, ip4Frag = 0, 1, 2, 4, 6
	ip4TTL, ip4Proto, ip4Checksum, ip4Src, ip4Dst      = 8, 9, 10, 12, 16

	ip6Flow, ip6PayloadLen, ip6Next, ip6HopLimit, ip6Src, ip6Dst = 0, 4, 6, 7, 8, 24

	l4SrcPort, l4DstPort                           = 0, 2
	tcpSeq, tcpAck, tcpOffset, tcpFlags, tcpWindow = 4, 8, 12, 13, 14
	tcpChecksum, tcpUrgent, udpLength, udpChecksum = 16, 18, 4, 6
)

// Bits of the IPv4 fragment field.
const (
	ip4Reserved   uint16 = 0x8000
	ip4DF         uint16 = 0x4000
	ip4MF         uint16 = 0x2000
	ip4OffsetMask uint16 = 0x1fff // in units of 8 bytes
)

// TCPFlags are the flags in byte 13 of the TCP header.
type TCPFlags uint8

// The TCP flags (RFC 9293, section 3.1).
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String renders the flags as "SYN|ACK", and none as "0".
func (f TCPFlags) String() string {
	out := ""
	for i, name := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) == 0 {
			continue
		}
		if out != "" {
			out += "|"
		}
		out += name
	}
	if out == "" {
		return "0"
	}
	return out
}

// IPv4 is an IPv4 header of at least IPv4Len bytes, and what follows it.
type IPv4 []byte

func (h IPv4) headerLen() int       { return int(h[ip4VersionIHL]&0xf) * 4 }
func (h IPv4) totalLen() int        { return int(binary.BigEndian.Uint16(h[ip4TotalLen:])) }
func (h IPv4) frag() uint16         { return binary.BigEndian.Uint16(h[ip4Frag:]) }
func (h IPv4) id() uint16           { return binary.BigEndian.Uint16(h[ip4ID:]) }
func (h IPv4) checksum() uint16     { return binary.BigEndian.Uint16(h[ip4Checksum:]) }
func (h IPv4) setChecksum(v uint16) { binary.BigEndian.PutUint16(h[ip4Checksum:], v) }
func (h IPv4) src() netip.Addr      { return netip.AddrFrom4([4]byte(h[ip4Src:])) }
func (h IPv4) dst() netip.Addr      { return netip.AddrFrom4([4]byte(h[ip4Dst:])) }

// IPv6 is an IPv6 header of at least IPv6Len bytes, and what follows it.
type IPv6 []byte

func (h IPv6) trafficClass() uint8 { return uint8(binary.BigEndian.Uint16(h[ip6Flow:]) >> 4) }
func (h IPv6) flowLabel() uint32   { return binary.BigEndian.Uint32(h[ip6Flow:]) & 0xfffff }
func (h IPv6) payloadLen() int     { return int(binary.BigEndian.Uint16(h[ip6PayloadLen:])) }
func (h IPv6) src() netip.Addr     { return netip.AddrFrom16([16]byte(h[ip6Src:])) }
func (h IPv6) dst() netip.Addr     { return netip.AddrFrom16([16]byte(h[ip6Dst:])) }
