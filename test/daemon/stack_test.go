package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// bridged is the router with the bridge br0 as its LAN, still without a port, and the example's ruleset for it.
func bridged(t *testing.T) (*testkit.Router, *daemon.Daemon) {
	t.Helper()
	r := router(t, engine.TC)
	r.Router.Script(`
		ip addr flush dev r0
		ip link add br0 address 02:00:00:00:01:01 type bridge
		ip link set br0 up
		ip addr add 10.0.1.1/24 dev br0`)
	r.Router.Sysctl("net/ipv4/conf/br0/rp_filter", "0")
	example, err := os.ReadFile("../../examples/router.nft")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bridge.nft")
	if err := os.WriteFile(file, []byte(strings.Replace(string(example), "lan = r0", "lan = br0", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := daemon.Command(t, r.Router, "load", file); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	return r, daemon.Start(t, r.Router)
}

// whereIs waits for what status says about a device.
func whereIs(t *testing.T, d *daemon.Daemon, device, where string, code reason.Reason) {
	t.Helper()
	testkit.MustAwait(t, 5*time.Second, func() error {
		for _, dev := range d.Status().Devices {
			if dev.Name == device && dev.Where() == where && dev.Reason.Code == code {
				return nil
			}
		}
		return fmt.Errorf("%s is not %q for %q: %+v", device, where, code, d.Status().Devices)
	})
}

func TestBridgeIsTakenUpWithItsPorts(t *testing.T) {
	r, d := bridged(t)
	whereIs(t, d, "br0", "off", reason.OffNoPort)
	r.Router.Run("ip", "link", "set", "r0", "master", "br0")
	whereIs(t, d, "br0", "tc on r0", reason.TCByDefault)
	forwarded(t, r, d)

	r.Router.Script(`
		ip link add v0 type veth peer name v1
		ip link set v0 master br0
		ip link set v0 up`)
	whereIs(t, d, "br0", "tc on r0, v0", reason.None)
	r.Router.Script(`
		ip link set v0 down
		ip link set v0 name port7`)
	whereIs(t, d, "br0", "tc on r0, port7", reason.None)
	r.Router.Run("ip", "link", "del", "port7")
	whereIs(t, d, "br0", "tc on r0", reason.TCByDefault)
	if s := d.Status(); len(s.Problems) > 0 {
		t.Errorf("problems: %+v", s.Problems)
	}
}

func TestRedirectToAnIFBKeepsABridgeSlowAndIsNamed(t *testing.T) {
	r, d := bridged(t)
	r.Router.Run("ip", "link", "set", "r0", "master", "br0")
	whereIs(t, d, "br0", "tc on r0", reason.TCByDefault)
	udp := forwarded(t, r, d)
	r.Router.Script(`
		ip link add ifb0 type ifb
		ip link set ifb0 up
		tc qdisc add dev r0 handle ffff: ingress
		tc filter add dev r0 parent ffff: pref 3 protocol all u32 match u32 0 0 action mirred egress redirect dev ifb0`)
	whereIs(t, d, "br0", "off on r0", reason.OffForeignFilter)
	// What was fast before ends within 100 ms.
	if err := udp.Exchange(200, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	before := d.Status().Stats.FastPackets().Packets
	if err := udp.Exchange(200, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	if fast := d.Status().Stats.FastPackets().Packets - before; fast > 0 {
		t.Errorf("%d packets went round the ifb", fast)
	}
	const want = "tc filter ingress pref 3 handle 800::800 u32 (mirred redirect to ifb0) on r0"
	for _, args := range [][]string{{"status"}, {"flows", "--refused"}} {
		testkit.MustAwait(t, 10*time.Second, func() error {
			out, err := daemon.Command(t, r.Router, args...)
			if text := strings.Join(strings.Fields(out), " "); err != nil || !strings.Contains(text, want) {
				return fmt.Errorf("%v: %w: does not name the filter:\n%s", args, err, out)
			}
			return nil
		})
	}
	r.Router.Run("tc", "qdisc", "del", "dev", "r0", "ingress")
	whereIs(t, d, "br0", "tc on r0", reason.TCByDefault)
	if err := udp.Exchange(2000, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	if fast := d.Status().Stats.FastPackets().Packets - before; fast < 2000 {
		t.Errorf("%d of 4000 packets were fast without it", fast)
	}
}
