//go:build guest

package oracle

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// A flow that leaves with three VLAN tags stays slow: an entry has room for two.
func TestFlowWithThreeTagsStaysSlow(t *testing.T) {
	b := makeBox(t, setup{hook: datapath.HookTC, cfg: datapath.Config{MaxFlows: 256}, prepare: func(b *box) {
		b.r.Router.Script(`
ip link add link r1 name r1.1 type vlan proto 802.1ad id 1
ip link add link r1.1 name r1.2 type vlan id 2
ip link add link r1.2 name r1.3 type vlan id 3
ip link set r1.1 up
ip link set r1.2 up
ip link set r1.3 up
ip addr add 192.0.2.1/24 dev r1.3
ip neigh add 192.0.2.2 lladdr 02:00:00:00:02:02 dev r1.3 nud permanent
ip route replace 198.51.100.2/32 via 192.0.2.2 dev r1.3
`)
		b.r.Router.Sysctl("net/ipv4/conf/r1.3/rp_filter", "0")
	}})
	tup := b.tuple(nats()[0], packet.UDP, false, 1)
	tags := []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 1}, {TPID: packet.EtherTypeVLAN, TCI: 2}, {TPID: packet.EtherTypeVLAN, TCI: 3}}
	for range 4 {
		b.pass(client, b.frame(tup, func(*packet.Spec) {}), 0)
		s := packet.New(tup.Reverse(), []byte("answer"))
		b.macs(&s, server)
		s.Tags = tags
		if err := b.ports[server].Send(s.Build()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ports[client].Recv(deadline, testkit.OfTuple(tup.Reverse())); err != nil {
			t.Fatalf("the answer did not come through: %v", err)
		}
	}
	if b.count(reason.SeenEgressEncap) == 0 || b.count(reason.SlowEncap) == 0 {
		t.Errorf("egress-encapsulated and encapsulated were not both counted: %s", b.reasons())
	}
	b.knowsNothing()
}
