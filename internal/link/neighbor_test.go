package link

import (
	"net/netip"
	"testing"
)

func TestNextHopsAreKnownOnceTheirMACAddressIs(t *testing.T) {
	p := newPair(t)
	p.router.Script(`ip link set r0 up
		ip addr add 10.9.0.1/24 dev r0
		ip route add 10.8.0.0/16 via 10.9.0.2
		ip neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev r0 nud permanent
		ip neigh add 10.9.0.4 dev r0 nud failed`)
	for to, hop := range map[string]string{"10.8.1.1": "10.9.0.2", "10.9.0.3": "10.9.0.3"} {
		r, err := p.h.Route(netip.MustParseAddr(to))
		if err != nil || r.Hop.String() != hop {
			t.Errorf("the next hop to %s is %s, want %s: %v", to, r.Hop, hop, err)
		}
	}
	index := p.device("r0").Ifindex
	for hop, want := range map[string]bool{"10.9.0.2": false, "10.9.0.3": true, "10.9.0.4": false} {
		if got, err := p.h.Neighbor(index, netip.MustParseAddr(hop)); err != nil || got != want {
			t.Errorf("neighbor %s is known: %v, want %v: %v", hop, got, want, err)
		}
	}
}
