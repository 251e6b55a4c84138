//go:build guest

package flows

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestFlushAndHoldOnARealFlowtable: flushed and held flows are not ours for a while; the kernel's flowtable, which knows
// them too, forwards them meanwhile. Nothing is lost.
func TestFlushAndHoldOnARealFlowtable(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc, testkit.Flowtable)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	if out, err := daemon.Command(t, r.Router, "load", "../../examples/router.nft"); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
	d := daemon.Start(t, r.Router)
	udp := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
	udp.Start(100)
	// fast waits until so many packets more were ours.
	fast := func(packets uint64) {
		t.Helper()
		before := d.Status().Stats.FastPackets().Packets
		testkit.MustAwait(t, 40*time.Second, func() error {
			if n := d.Status().Stats.FastPackets().Packets - before; n < packets {
				return fmt.Errorf("%d packets were ours: %+v", n, d.Status().Stats)
			}
			return nil
		})
	}
	fast(100)
	if got := command[engine.Flushed](t, r, "flows", "flush", "--port", fmt.Sprint(port)); got.Flows != 1 || got.Directions != 2 {
		t.Errorf("flushed %+v", got)
	}
	fast(100)

	const hold = 20 * time.Second
	asked := time.Now()
	command[any](t, r, "flows", "hold", "--src", udp.Local().Addr().String(), "--for", hold.String())
	before, sent := d.Status().Stats.FastPackets().Packets, udp.Stats().Up.Received
	testkit.MustAwait(t, hold, func() error {
		if n := udp.Stats().Up.Received - sent; n < 100 {
			return fmt.Errorf("%d packets arrived", n)
		}
		return nil
	})
	if n := d.Status().Stats.FastPackets().Packets - before; n > 0 && time.Since(asked) < hold {
		t.Errorf("%d packets were ours though held", n)
	}
	fast(100)
	if time.Since(asked) < hold-clockTick {
		t.Errorf("ours again after %v", time.Since(asked))
	}
	// Not in order: sockets of an emulated machine send from whichever CPU has time, and each CPU has a queue.
	for _, c := range []testkit.UDPCount{udp.Stop(5 * time.Second).Up, udp.Stats().Down} {
		if c.Received != udp.Stats().Sent || c.Duplicated+c.Corrupt > 0 {
			t.Errorf("of %d packets sent arrived %+v", udp.Stats().Sent, c)
		}
	}
}
