//go:build guest

package flows

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestRouterExampleOnARealFlowtable: the example as a user has it, on a stock kernel, unlowered; TCP and UDP through
// NAT, nearly all packets ours, and the lease holds when the daemon is gone.
func TestRouterExampleOnARealFlowtable(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc, testkit.Flowtable)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	if out, err := daemon.Command(t, r.Router, "load", "../../examples/router.nft"); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
	d := daemon.Start(t, r.Router)
	tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
	if err != nil {
		t.Fatal(err)
	}
	before := d.Status()
	if _, err := tcp.Transfer(testkit.Load{Up: 200_000, Down: 200_000, Rate: 400, Size: 200, Timeout: time.Minute}); err != nil {
		t.Error(err)
	}
	udp := testkit.OpenUDP(t, r.Path(false, port+1), testkit.UDPOptions{})
	if err := udp.Exchange(1000, 300, 3*time.Second).Whole(); err != nil {
		t.Error(err)
	}
	six := testkit.OpenUDP(t, r.Path(true, port+2), testkit.UDPOptions{})
	if err := six.Exchange(500, 300, 3*time.Second).Whole(); err != nil {
		t.Error(err)
	}
	forwarded, err := testkit.ConnectTCP(t, r.Forwarded(false, 8080, 80), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := forwarded.Exchange(50_000, 20*time.Second); err != nil {
		t.Error(err)
	}
	s := d.Status()
	fast := s.Stats.FastPackets().Packets - before.Stats.FastPackets().Packets
	slow := s.Stats.Slow.Packets - before.Stats.Slow.Packets - daemon.Reason(s, "renewal") - daemon.Reason(s, "tcp-flags")
	t.Logf("%d packets fast, %d slow", fast, slow)
	if fast < 3000 || fast*100 < (fast+slow)*90 {
		t.Errorf("%d packets were ours and %d were not: %+v", fast, slow, s.Stats)
	}
	if err := tcp.Finish(10 * time.Second); err != nil {
		t.Error(err)
	}
	leaseHolds(t, r, d, udp)
}

// leaseHolds kills the daemon, takes the flow's permission away, and sees it stop within the hard limit. (A new drop rule
// or route would not do: the kernel's flowtable does not see the one and not always the other, and it forwards the
// renewals.)
func leaseHolds(t *testing.T, r *testkit.Router, d *daemon.Daemon, udp *testkit.UDPFlow) {
	t.Helper()
	udp.Start(200)
	d.Kill9()
	testkit.MustAwait(t, 10*time.Second, notBefore(time.Now().Add(3*time.Second)))
	sent := udp.Stats().Up.Received
	r.Router.NFTables("flush ruleset\ntable inet x {\n chain f {\n type filter hook forward priority 0; policy drop\n }\n}\n")
	changed := time.Now()
	testkit.MustAwait(t, 20*time.Second, notBefore(changed.Add(5*time.Second)))
	udp.Stop(0)
	if udp.Stats().Up.Received == sent {
		t.Error("the flow had stopped before")
	}
	// Two seconds by the guest's clock; an emulated machine is late in everything else.
	if took := udp.Stats().Up.Last.Sub(changed); took > 2500*time.Millisecond {
		t.Errorf("packets went the old way for %v without a daemon", took)
	}
}

func notBefore(when time.Time) func() error {
	return func() error {
		if left := time.Until(when); left > 0 {
			return fmt.Errorf("%v too early", left)
		}
		return nil
	}
}
