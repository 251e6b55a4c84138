package contract_test

import (
	"net/netip"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestFramesAreReadAsTheFlowtableReadsThem(t *testing.T) {
	frame := func(proto uint8, six bool, change func(*packet.Spec)) []byte {
		src, dst := "192.0.2.1:40000", "198.51.100.1:443"
		if six {
			src, dst = "[2001:db8::1]:40000", "[2001:db8:1::1]:443"
		}
		s := packet.New(packet.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}, make([]byte, 40))
		change(&s)
		return s.Build()
	}
	same := func(*packet.Spec) {}
	tags := func(tpids ...uint16) func(*packet.Spec) {
		return func(s *packet.Spec) {
			for _, id := range tpids {
				s.Tags = append(s.Tags, packet.Tag{TPID: id, TCI: 7})
			}
		}
	}
	pppoe := append(append(make([]byte, 12), 0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21), frame(packet.TCP, false, same)[14:]...)
	late := caps.Version{Major: 6, Minor: 12}
	for name, c := range map[string]struct {
		frame []byte
		want  reason.Reason
	}{
		"TCP":                     {frame(packet.TCP, false, same), reason.None},
		"TCP over IPv6":           {frame(packet.TCP, true, same), reason.None},
		"UDP in one tag":          {frame(packet.UDP, false, tags(packet.EtherTypeVLAN)), reason.None},
		"in 802.1ad and 802.1Q":   {frame(packet.UDP, false, tags(packet.EtherTypeQinQ, packet.EtherTypeVLAN)), reason.None},
		"in 802.1Q and 802.1ad":   {frame(packet.UDP, false, tags(packet.EtherTypeVLAN, packet.EtherTypeQinQ)), reason.PacketEncap},
		"three tags":              {frame(packet.UDP, false, tags(packet.EtherTypeVLAN, packet.EtherTypeVLAN, packet.EtherTypeVLAN)), reason.PacketEncap},
		"PPPoE":                   {pppoe, reason.None},
		"ARP":                     {frame(packet.UDP, false, func(s *packet.Spec) { s.EtherType = packet.EtherTypeARP }), reason.PacketEncap},
		"ICMP":                    {frame(1, false, same), reason.PacketProtocol},
		"a first fragment":        {frame(packet.UDP, false, func(s *packet.Spec) { s.MF = true }), reason.PacketFragment},
		"options":                 {frame(packet.UDP, false, func(s *packet.Spec) { s.Options = []byte{1, 1, 1, 0} }), reason.PacketOptions},
		"hop limit 1":             {frame(packet.UDP, true, func(s *packet.Spec) { s.TTL = 1 }), reason.PacketTTL},
		"FIN":                     {frame(packet.TCP, true, func(s *packet.Spec) { s.Flags = packet.FIN | packet.ACK }), reason.PacketClosing},
		"GRE version 1":           {frame(47, false, func(s *packet.Spec) { s.Payload[1] = 1 }), reason.PacketProtocol},
		"GRE version 0":           {frame(47, false, same), reason.None},
		"a hop-by-hop header":     {frame(0, true, same), reason.PacketExtHeader},
		"ICMPv6, no extension":    {frame(58, true, same), reason.PacketProtocol},
		"longer than 1500 octets": {frame(packet.UDP, false, func(s *packet.Spec) { s.Payload = make([]byte, 1500) }), reason.PacketTooLong},
	} {
		p, ok := contract.Frame(c.frame, false)
		p.MTU = 1500
		if got := p.Slow(late); !ok || got != c.want {
			t.Errorf("%s: %s (%v), want %s; read %+v", name, got, ok, c.want, p)
		}
	}
	whole := frame(packet.TCP, false, same)
	for n := range whole[:14+20+19] {
		if p, ok := contract.Frame(whole[:n], false); ok && !p.Encap {
			t.Errorf("%d bytes of a frame are read as %+v", n, p)
		}
	}
	if p, ok := contract.Frame(whole[14:], true); !ok || p.Slow(late) != reason.None {
		t.Errorf("a bare packet: %+v, %v", p, ok)
	}
}
