package daemon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// quiet is how long an exchange waits for echoes that do not come.
const quiet = time.Second

// named gives the router's ports other names. A device is renamed while it is down: before Linux 6.2 there is no
// other way; its IPv6 addresses stay.
func named(t *testing.T, r *testkit.Router, r0, r1 string) {
	t.Helper()
	for _, d := range []struct {
		dev  *testkit.Dev
		name string
	}{{&r.R0, r0}, {&r.R1, r1}} {
		r.Router.Sysctl("net/ipv6/conf/"+d.dev.Name+"/keep_addr_on_down", "1")
		r.Router.Script(fmt.Sprintf("ip link set %s down\nip link set %s name %s\nip link set %s up", d.dev.Name, d.dev.Name, d.name, d.name))
		d.dev.Name = d.name
	}
}

// counted is what changed in the daemon's counters.
type counted struct{ fast, notAdded uint64 }

func count(d *daemon.Daemon) counted {
	s := d.Status()
	return counted{s.Stats.FastPackets().Packets, daemon.Reason(s, "not-added")}
}

func (c counted) since(before counted) counted {
	return counted{c.fast - before.fast, c.notAdded - before.notAdded}
}

// tcpThrough moves payload both ways, compares it, and says what the daemon counted: about 2000 packets.
func tcpThrough(t *testing.T, d *daemon.Daemon, tcp *testkit.TCPPair) counted {
	t.Helper()
	before := count(d)
	if _, err := tcp.Transfer(testkit.Load{Up: 100_000, Down: 100_000, Rate: 1000, Size: 100}); err != nil {
		t.Error(err)
	}
	return count(d).since(before)
}

// udpThrough does the same with 1000 packets.
func udpThrough(t *testing.T, d *daemon.Daemon, udp *testkit.UDPFlow) counted {
	t.Helper()
	before := count(d)
	if err := udp.Exchange(500, 1000, quiet).Whole(); err != nil {
		t.Error(err)
	}
	return count(d).since(before)
}

func TestRulesetOfTheArticlesMakesTCPFastAndLeavesUDPSlow(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		named(t, r, "eth0", "eth1")
		s := outcome(t, r.Router, commandLine(t, "load ../../examples/forward-offload.nft"))
		if s.code != 0 || s.stderr != "" || !strings.Contains(s.stdout, "flowtable ip filter f1: eth0, eth1\n") || strings.Contains(s.stdout, "left out") {
			t.Fatalf("load: %+v", s)
		}
		leavesNothing(t, r.Router)
		d := daemon.Start(t, r.Router, "--device", fmt.Sprintf("eth0=%s", hook), "--device", fmt.Sprintf("eth1=%s", hook))
		tcp, err := testkit.ConnectTCP(t, r.Path(false, 5001), 0)
		if err != nil {
			t.Fatal(err)
		}
		if c := tcpThrough(t, d, tcp); c.fast < 1500 {
			t.Errorf("tcp: %d packets were fast, %d not added: %+v", c.fast, c.notAdded, d.Status().Stats)
		}
		// Closed now: its last acknowledgements, fast ones, would be among the packets counted below.
		if err := tcp.Finish(5 * time.Second); err != nil {
			t.Error(err)
		}
		udp := testkit.OpenUDP(t, r.Path(false, 5002), testkit.UDPOptions{})
		if c := udpThrough(t, d, udp); c.fast > 0 || c.notAdded < 900 {
			t.Errorf("udp, which the rule leaves out: %d packets fast, %d of 1000 not added: %+v", c.fast, c.notAdded, d.Status().Stats)
		}
		// The table is of family ip, and has no policy: IPv6 is forwarded, and not its business.
		six := testkit.OpenUDP(t, r.Path(true, 5003), testkit.UDPOptions{})
		if c := udpThrough(t, d, six); c.fast > 0 {
			t.Errorf("ip6: %d packets fast", c.fast)
		}
		for _, f := range d.Flows() {
			if f.Proto != "tcp" {
				t.Errorf("a %s flow is in the table: %+v", f.Proto, f)
			}
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// plain is what a person writes who has never heard of flowtables.
const plain = `
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "r0" oifname "r1" accept
	}
}
table inet nat {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "r1" meta nfproto ipv4 masquerade
	}
}
`

func TestEnableMakesFlowsOfAPlainRulesetFastAndDisableSlowAgain(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		r.Router.NFTables(plain)
		leavesNothing(t, r.Router)
		before := r.Router.Run("nft", "list", "ruleset")
		if out, err := daemon.Command(t, r.Router, "enable", "r0", "r1"); err != nil {
			t.Fatalf("enable: %v: %s", err, out)
		}
		d := daemon.Start(t, r.Router, devices(hook)...)
		for _, six := range []bool{false, true} {
			tcp, err := testkit.ConnectTCP(t, r.Path(six, 5001), 0)
			if err != nil {
				t.Fatal(err)
			}
			if c := tcpThrough(t, d, tcp); c.fast < 1500 {
				t.Errorf("six=%v: %d of about 2000 tcp packets were fast: %+v", six, c.fast, d.Status().Stats)
			}
			udp := testkit.OpenUDP(t, r.Path(six, 5002), testkit.UDPOptions{})
			if c := udpThrough(t, d, udp); c.fast < 800 {
				t.Errorf("six=%v: %d of 1000 udp packets were fast: %+v", six, c.fast, d.Status().Stats)
			}
			if seen := udp.Stats().Seen.Addr(); !six && seen != r.R1.Addr(false) {
				t.Errorf("the server saw %s, which is not the router's address", seen)
			}
			disabled(t, r, d, hook, before)
			slowNow(t, d, tcp, udp)
			if out, err := daemon.Command(t, r.Router, "enable", "r0", "r1"); err != nil {
				t.Fatalf("enable again: %v: %s", err, out)
			}
			testkit.MustAwait(t, 5*time.Second, func() error { return hookIs(d, "r1", hook) })
			if c := udpThrough(t, d, udp); c.fast < 700 {
				t.Errorf("six=%v: %d of 1000 udp packets were fast after enable: %+v", six, c.fast, d.Status().Stats)
			}
			if err := tcp.Finish(5 * time.Second); err != nil {
				t.Error(err)
			}
		}
		if out, err := daemon.Command(t, r.Router, "disable"); err != nil {
			t.Errorf("disable: %v: %s", err, out)
		}
	})
}

// disabled runs disable and waits until the daemon has let the devices go.
func disabled(t *testing.T, r *testkit.Router, d *daemon.Daemon, hook engine.Hook, ruleset string) {
	t.Helper()
	out, err := daemon.Command(t, r.Router, "disable")
	if err != nil || !strings.Contains(out, "removed table inet nft_offload") {
		t.Fatalf("disable: %v: %s", err, out)
	}
	if after := r.Router.Run("nft", "list", "ruleset"); after != ruleset {
		t.Errorf("before enable it was\n%s\nafter disable it is\n%s", ruleset, after)
	}
	testkit.MustAwait(t, 5*time.Second, func() error {
		for _, dev := range d.Status().Devices {
			if dev.Hook == hook {
				return fmt.Errorf("%s is still at %s", dev.Name, hook)
			}
		}
		return nil
	})
}

// slowNow checks that the same connections go on, on the slow path.
func slowNow(t *testing.T, d *daemon.Daemon, tcp *testkit.TCPPair, udp *testkit.UDPFlow) {
	t.Helper()
	if c := tcpThrough(t, d, tcp); c.fast > 0 {
		t.Errorf("%d tcp packets were fast after disable", c.fast)
	}
	if c := udpThrough(t, d, udp); c.fast > 0 {
		t.Errorf("%d udp packets were fast after disable", c.fast)
	}
}
