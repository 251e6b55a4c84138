//go:build guest

package oracle

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// A flow that leaves by a VLAN device stays slow: the lower device sees its packets with a tag.
func TestFlowThroughVLANStaysSlow(t *testing.T) {
	b := newBoxWith(t, datapath.HookTC, "", datapath.Config{MaxFlows: 256})
	done := b.own()
	b.r.Router.Script(`
ip link add link r1 name r1.10 type vlan id 10
ip link set r1.10 up
ip addr add 192.0.2.1/24 dev r1.10
ip neigh add 192.0.2.2 lladdr 02:00:00:00:02:02 dev r1.10 nud permanent
ip route replace 198.51.100.2/32 via 192.0.2.2 dev r1.10
`)
	b.r.Router.Sysctl("net/ipv4/conf/r1.10/rp_filter", "0")
	done()
	tup := b.tuple(nats()[0], packet.UDP, false, 1)
	tag := []packet.Tag{{TPID: packet.EtherTypeVLAN, TCI: 10}}
	for range 4 {
		b.pass(client, b.frame(tup, func(*packet.Spec) {}), 0)
		s := packet.New(tup.Reverse(), []byte("answer"))
		b.macs(&s, server)
		s.Tags = tag
		if err := b.ports[server].Send(s.Build()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ports[client].Recv(deadline, testkit.OfTuple(tup.Reverse())); err != nil {
			t.Fatalf("the answer did not come through: %v", err)
		}
	}
	if b.count(datapath.EgressEncap) == 0 || b.count(datapath.Encap) == 0 {
		t.Errorf("egress-encapsulated and encapsulated were not both counted: %s", b.reasons())
	}
	if b.fast() != 0 {
		t.Errorf("%d packets were fast: %s", b.fast(), b.reasons())
	}
}
