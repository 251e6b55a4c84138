// Package daemon_test runs the built program between network namespaces.
package daemon_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// router is the topology with a loaded ruleset.
func router(t *testing.T, hook engine.Hook) *testkit.Router {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	return testkit.NewRouter(t, testkit.RouterOptions{XDP: hook == engine.XDP, NoChecksumOffload: hook == engine.XDP})
}

func load(t *testing.T, r *testkit.Router) {
	t.Helper()
	if out, err := daemon.Command(t, r.Router, "load", "../../examples/router.nft"); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
}

func hooks(t *testing.T, f func(t *testing.T, hook engine.Hook)) {
	for _, h := range []engine.Hook{engine.TC, engine.XDP} {
		t.Run(string(h), func(t *testing.T) { f(t, h) })
	}
}

func devices(h engine.Hook) []string {
	return []string{"--device", fmt.Sprintf("r0=%s", h), "--device", fmt.Sprintf("r1=%s", h)}
}

func TestTCPAndUDPAreCarriedAndNothingIsLeft(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		load(t, r)
		testkit.CheckRestored(t, 10*time.Second, snapshotOptions(), r.Router)
		d := daemon.Start(t, r.Router, devices(hook)...)
		for _, six := range []bool{false, true} {
			tcp, err := testkit.ConnectTCP(t, r.Path(six, 5001), 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tcp.Transfer(testkit.Load{Up: 300_000, Down: 300_000, Rate: 1000, Size: 100}); err != nil {
				t.Fatal(err)
			}
			udp := testkit.OpenUDP(t, r.Path(six, 5002), testkit.UDPOptions{})
			if err := udp.Exchange(2000, 1000, time.Second).Whole(); err != nil {
				t.Error(err)
			}
			for _, f := range d.Flows() {
				t.Logf("%+v", f)
			}
			if err := tcp.Finish(5 * time.Second); err != nil {
				t.Error(err)
			}
		}
		s := d.Status()
		t.Logf("%+v", s)
		if got := s.Stats.Fast[hook].Packets; got < 12000 {
			t.Errorf("%d packets on the %s path, want 12000 or more", got, hook)
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// snapshotOptions looks at all eBPF objects of the machine where tests run one after the other, which is where a
// missing requirement is a failure too; elsewhere somebody else's come and go.
func snapshotOptions() testkit.SnapshotOptions {
	o := testkit.SnapshotOptions{}
	if os.Getenv(testkit.StrictEnv) == "" {
		o.BPF = func(string) bool { return false }
	}
	return o
}
