package ruleset_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// guarded is a chain on the router's r0 that is executed as a whole before flows are looked up: it stands before the
// flowtable, which nftables executes it before, too.
const guarded = `
table netdev guard {
	chain in {
		type filter hook ingress device "r0" priority -10; policy accept;
		udp dport 5003 counter drop
	}
}`

func TestFlowsAreCarriedBehindRulesThatAreExecutedEarly(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	if out, err := daemon.Command(t, r.Router, "load", "../../examples/router.nft"); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	r.Router.NFTables(guarded)
	d := daemon.Start(t, r.Router, "--device", "r0=tc", "--device", "r1=tc")
	testkit.MustAwait(t, limit, func() error {
		s := d.Status()
		if !s.Rules.Executing || len(s.Rules.Devices) != 1 || s.Rules.Devices[0].Early != 1 || len(s.Devices) != 2 || s.Devices[0].Hook != engine.TC {
			return errors.New("rules or flows are not fast")
		}
		return nil
	})
	free := testkit.OpenUDP(t, r.Path(false, 5002), testkit.UDPOptions{})
	fast := d.Status().Stats.FastPackets().Packets
	testkit.MustAwait(t, limit, func() error { // a machine that is busy renews leases more often than it sends packets
		if err := free.Exchange(200, 1000, time.Second).Whole(); err != nil {
			t.Fatal(err)
		}
		before := fast
		if fast = d.Status().Stats.FastPackets().Packets; fast < before+300 {
			return fmt.Errorf("%d of 400 packets were fast: %+v", fast-before, d.Status().Stats)
		}
		return nil
	})
	shut := testkit.OpenUDP(t, r.Path(false, 5003), testkit.UDPOptions{})
	if err := shut.Exchange(20, 1000, 100*time.Millisecond).Whole(); err == nil {
		t.Error("what the chain drops has passed")
	}
	if n := d.Status().Rules.Devices[0].Packets.Dropped; n != 20 {
		t.Errorf("%d packets were dropped early, want 20", n)
	}

	// A flow that is fast meets a new rule from the next packet on.
	r.Router.Run("nft", "add", "rule", "netdev", "guard", "in", "udp", "dport", "5002", "counter", "drop")
	testkit.MustAwait(t, limit, func() error {
		if err := free.Exchange(5, 1000, 50*time.Millisecond).Whole(); err == nil {
			return errors.New("the flow goes on past the new rule")
		}
		return nil
	})
}
