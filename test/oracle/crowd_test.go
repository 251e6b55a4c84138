package oracle

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Packets of flows that stay slow pass the counters of short flows again and again: several share each of them, and all of
// them pass before the flow's next packet does.
func TestSlowFlowsDoNotKeepOthersOut(t *testing.T) {
	const crowd, rounds = 5 * 4096, 10
	b := newBoxWith(t, datapath.HookTC, "", datapath.Config{MinPackets: 4})
	tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
	before := b.fast()
	for range rounds {
		for i := range crowd {
			one := tuples[client]
			one.Dst = netip.AddrPortFrom(one.Dst.Addr(), uint16(20000+i)) // nobody answers
			s := packet.New(one, nil)
			b.macs(&s, client)
			for err := error(unix.ENOBUFS); err != nil; {
				if err = b.ports[client].Send(s.Build()); err != nil && !errors.Is(err, unix.ENOBUFS) {
					t.Fatal(err)
				}
			}
		}
		plain(b, tuples)
	}
	if b.fast() == before {
		t.Errorf("the flow was never fast: %s", b.reasons())
	}
}
