package testkit_test

import (
	"net/netip"
	"testing"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestTunCarriesPacketsBothWaysWithoutEthernetHeader(t *testing.T) {
	ns := testkit.NewNS(t, "tun")
	a, b := testkit.OpenTun(t, ns, "t0"), testkit.OpenTun(t, ns, "t1")
	ns.Script(`
ip addr add 10.9.1.1/24 dev t0
ip -6 addr add 2001:db8:91::1/64 dev t0 nodad
ip addr add 10.9.2.1/24 dev t1
ip -6 addr add 2001:db8:92::1/64 dev t1 nodad
`)
	ns.Sysctl("net/ipv4/ip_forward", "1")
	ns.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, tup := range []packet.Tuple{
		{Src: netip.MustParseAddrPort("10.9.1.2:1000"), Dst: netip.MustParseAddrPort("10.9.2.2:2000"), Proto: packet.UDP},
		{Src: netip.MustParseAddrPort("[2001:db8:91::2]:1000"), Dst: netip.MustParseAddrPort("[2001:db8:92::2]:2000"), Proto: packet.UDP},
	} {
		s := packet.New(tup, []byte("through a tunnel"))
		frame := s.Build()
		if err := a.Send(frame); err != nil {
			t.Fatal(err)
		}
		f, err := b.Recv(wait, testkit.OfTuple(tup))
		if err != nil {
			t.Fatal(err)
		}
		s.TTL--
		if d := packet.Diff(s.Build(), f.Data); d != "" {
			t.Errorf("%s: %s", tup, d)
		}
	}
	if err := a.Send(make([]byte, 40)); err != nil {
		t.Errorf("a packet of no version: %v", err)
	}
	if _, err := a.Drain(); err != nil {
		t.Error(err)
	}
}
