package bench

import (
	"net/netip"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Header lengths (Ethernet without tags, IP without options).
const (
	ethernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40
	tcpLen      = 20
	udpLen      = 8
)

func netipPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// frameL4 is the offset of the TCP or UDP header of a frame that template built.
func frameL4(frame []byte) int {
	if frame[ethernetLen]>>4 == 6 {
		return ethernetLen + ipv6Len
	}
	return ethernetLen + ipv4Len
}

// datagram is the frame of length frameLen that goes from one device's host to another's by way of gateway.
func datagram(from, gateway device, src, dst netip.Addr) packet.Spec {
	header := ethernetLen + ipv4Len + udpLen
	if src.Is6() {
		header = ethernetLen + ipv6Len + udpLen
	}
	s := packet.New(packet.Tuple{
		Src: netip.AddrPortFrom(src, clientPort), Dst: netip.AddrPortFrom(dst, serverPort), Proto: packet.UDP,
	}, make([]byte, frameLen-header))
	s.Src, s.Dst = from.mac, gateway.mac
	return s
}
