// Package daemon_test runs the built program between network namespaces.
package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
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
			if err := tcp.Finish(5 * time.Second); err != nil {
				t.Error(err)
			}
		}
		s := d.Status()
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

// forwarded is a UDP flow through the router that is fast already.
func forwarded(t *testing.T, r *testkit.Router, d *daemon.Daemon) *testkit.UDPFlow {
	t.Helper()
	udp := testkit.OpenUDP(t, r.Path(false, 5002), testkit.UDPOptions{})
	if err := udp.Exchange(200, 1000, time.Second).Whole(); err != nil {
		t.Fatal(err)
	}
	if fast := d.Status().Stats.FastPackets().Packets; fast < 300 {
		t.Fatalf("%d of 400 packets were fast", fast)
	}
	return udp
}

func start(t *testing.T, args ...string) (*testkit.Router, *daemon.Daemon) {
	t.Helper()
	r := router(t, engine.TC)
	load(t, r)
	return r, daemon.Start(t, r.Router, args...)
}

func TestSecondRunIsRefusedWithThePidOfTheFirst(t *testing.T) {
	r, d := start(t)
	_, err := daemon.Try(t, r.Router)
	if daemon.ExitCode(err) != 6 || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", d.PID())) {
		t.Errorf("second run: %v, want exit code 6 and pid %d", err, d.PID())
	}
	if len(d.Status().Devices) != 2 {
		t.Error("the first run lost its devices")
	}
}

func TestKilledDaemonIsAdoptedWithItsFlows(t *testing.T) {
	r, d := start(t)
	udp := forwarded(t, r, d)
	before := d.Status().Stats.FastPackets().Packets
	d.Kill9()
	if err := udp.Exchange(500, 1000, time.Second).Whole(); err != nil {
		t.Errorf("without a daemon: %v", err)
	}
	d = daemon.Start(t, r.Router)
	s := d.Status()
	if !s.Adopted {
		t.Error("the next run did not adopt")
	}
	if got := s.Stats.FastPackets().Packets - before; got < 900 {
		t.Errorf("%d of 1000 packets were fast without a daemon", got)
	}
	if err := udp.Exchange(500, 1000, time.Second).Whole(); err != nil {
		t.Errorf("after adoption: %v", err)
	}
	if got := d.Status().Stats.FastPackets().Packets - before; got < 1800 {
		t.Errorf("%d of 2000 packets were fast", got)
	}
}

// The number of a network namespace is used again once it is gone, and what a killed daemon left there stays.
func TestWhatIsOnNoDeviceIsNotAdopted(t *testing.T) {
	r, d := start(t)
	d.Kill9()
	status := func(want string) {
		t.Helper()
		out, err := daemon.Command(t, r.Router, "status")
		if daemon.ExitCode(err) != 5 || !strings.Contains(out, want) {
			t.Errorf("status: %v: %s", err, out)
		}
	}
	status("datapath is pinned and carries flows")
	r.Router.Script("ip link del r0\nip link del r1")
	status("no datapath is pinned")
	if d = daemon.Start(t, r.Router); d.Status().Adopted {
		t.Error("a datapath without a device was adopted")
	}
}

// A daemon that starts at boot may be there before its devices, and names are given late.
func TestDeviceIsTakenUpWhenItAppearsAndLeftWhenItIsRenamed(t *testing.T) {
	r := router(t, engine.TC)
	rename := func(from, to string) { r.Router.Run("ip", "link", "set", from, "name", to) }
	rename("r0", "late")
	load(t, r)
	d := daemon.Start(t, r.Router)
	await := func(want engine.Hook) {
		t.Helper()
		testkit.MustAwait(t, 10*time.Second, func() error {
			for _, dev := range d.Status().Devices {
				if dev.Name == "r0" && dev.Hook == want {
					return nil
				}
			}
			return fmt.Errorf("r0 is not %s: %+v", want, d.Status().Devices)
		})
	}
	await(engine.Off)
	rename("late", "r0")
	await(engine.TC)
	udp := forwarded(t, r, d)
	rename("r0", "late")
	await(engine.Off)
	if err := udp.Exchange(100, 1000, time.Second).Whole(); err != nil {
		t.Errorf("under another name: %v", err)
	}
	rename("late", "r0")
	await(engine.TC)
	before := d.Status().Stats.FastPackets().Packets
	if err := udp.Exchange(2000, 1000, 3*time.Second).Whole(); err != nil {
		t.Errorf("under its name again: %v", err)
	}
	if got := d.Status().Stats.FastPackets().Packets - before; got < 1000 {
		t.Errorf("%d of 4000 packets were fast under its name again", got)
	}
}

func TestAdoptionWithAnotherTableSizeStartsAnew(t *testing.T) {
	r, d := start(t, "--max-flows", "1000")
	udp := forwarded(t, r, d)
	d.Kill9()
	d = daemon.Start(t, r.Router, "--max-flows", "2000")
	if s := d.Status(); s.Adopted || s.Stats.MaxFlows != 2000 {
		t.Errorf("adopted %v, room for %d", s.Adopted, s.Stats.MaxFlows)
	}
	if !strings.Contains(d.Output(), "cannot be adopted") {
		t.Errorf("the log does not say so: %s", d.Output())
	}
	if err := udp.Exchange(100, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
}

func TestWithdrawRemovesWhatAKilledDaemonLeft(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		load(t, r)
		testkit.CheckRestored(t, 10*time.Second, snapshotOptions(), r.Router)
		d := daemon.Start(t, r.Router, devices(hook)...)
		d.Kill9()
		out, err := daemon.Command(t, r.Router, "status")
		if daemon.ExitCode(err) != 5 || !strings.Contains(out, "is pinned") {
			t.Errorf("status: %v", err)
		}
		for _, want := range []string{"removed the datapath", "nothing to withdraw"} {
			out, err := daemon.Command(t, r.Router, "withdraw")
			if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "lowered flowtable inet filter f1") {
				t.Errorf("withdraw: %v: %s, want %q", err, out, want)
			}
		}
	})
}

func TestWithdrawStopsARunningDaemon(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	testkit.CheckRestored(t, 10*time.Second, snapshotOptions(), r.Router)
	for _, args := range [][]string{nil, {"--keep"}} {
		d := daemon.Start(t, r.Router, args...)
		out, err := daemon.Command(t, r.Router, "withdraw")
		if err != nil || !strings.Contains(out, fmt.Sprintf("stopped the daemon (pid %d)", d.PID())) {
			t.Errorf("withdraw: %v: %s", err, out)
		}
		if err := d.Wait(time.Second); err != nil {
			t.Errorf("daemon: %v", err)
		}
	}
}

func TestKeepLeavesTheDatapathRunning(t *testing.T) {
	r, d := start(t, "--keep")
	udp := forwarded(t, r, d)
	before := d.Status().Stats.FastPackets().Packets
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := udp.Exchange(500, 1000, time.Second).Whole(); err != nil {
		t.Errorf("without a daemon: %v", err)
	}
	d = daemon.Start(t, r.Router)
	if got := d.Status().Stats.FastPackets().Packets - before; got < 900 {
		t.Errorf("%d of 1000 packets were fast without a daemon", got)
	}
}

func TestDeviceThatIsRemovedAndMadeAgainIsTakenUp(t *testing.T) {
	r, d := start(t)
	forwarded(t, r, d)
	r.Router.Run("ip", "link", "del", "r1")
	testkit.MustAwait(t, 5*time.Second, func() error { return hookIs(d, "r1", engine.Off) })
	testkit.Join(t, &r.R1, &r.S0)
	testkit.MustAwait(t, 5*time.Second, func() error { return hookIs(d, "r1", engine.TC) })
	if s := d.Status(); len(s.Problems) > 0 {
		t.Errorf("problems: %+v", s.Problems)
	}
}

func hookIs(d *daemon.Daemon, device string, hook engine.Hook) error {
	for _, dev := range d.Status().Devices {
		if dev.Name == device && dev.Hook == hook {
			return nil
		}
	}
	return fmt.Errorf("%s is not at %s: %+v", device, hook, d.Status().Devices)
}

func TestDaemonWithoutItsPinsSaysSoAndEnds(t *testing.T) {
	r, d := start(t, "--keep")
	udp := forwarded(t, r, d)
	if err := os.RemoveAll(d.Pins()); err != nil {
		t.Fatal(err)
	}
	err := d.Wait(10 * time.Second)
	if daemon.ExitCode(err) != 1 || !strings.Contains(d.Output(), "the pins in "+d.Pins()+" are gone") {
		t.Errorf("the daemon ended with %v and said: %s", err, d.Output())
	}
	if err := udp.Exchange(100, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Pins()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left pins behind: %v", err)
	}
}

func TestForeignObjectsOnADeviceAreNamedAndNeverReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		setup, check []string
		code         reason.Reason
		text         string
	}{
		"tc filter": {
			[]string{"tc qdisc add dev r0 clsact", "tc filter add dev r0 ingress pref 7 protocol ip u32 match u32 0 0 classid 1:1"},
			[]string{"tc", "filter", "show", "dev", "r0", "ingress"},
			reason.OffForeignFilter, "pref 7 handle 800::800 u32",
		},
		"netdev chain": {
			[]string{"nft add table netdev guard", "nft add chain netdev guard in { type filter hook ingress device r0 priority 0 ; }", "nft add rule netdev guard in tcp dport 23 counter accept"},
			[]string{"nft", "list", "chain", "netdev", "guard", "in"},
			reason.OffDeviceChain, "netdev guard in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := start(t)
			forwarded(t, r, d)
			for _, s := range c.setup {
				r.Router.Script(s)
			}
			testkit.MustAwait(t, 5*time.Second, func() error { return hookIs(d, "r0", engine.Off) })
			for _, dev := range d.Status().Devices {
				if dev.Name == "r0" && (dev.Reason.Code != c.code || !strings.Contains(dev.Reason.Text, c.text)) {
					t.Errorf("reason %+v, want %s", dev.Reason, c.code)
				}
			}
			before := r.Router.Run(c.check[0], c.check[1:]...)
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
			if after := r.Router.Run(c.check[0], c.check[1:]...); after != before {
				t.Errorf("it was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

func TestForeignXDPProgramIsNeverReplaced(t *testing.T) {
	r := router(t, engine.XDP)
	load(t, r)
	id := foreignXDP(t, r.R0)
	_, err := daemon.Try(t, r.Router, "--device", "r0=xdp")
	if daemon.ExitCode(err) != 8 || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("run --device r0=xdp: %v, want exit code 8", err)
	}
	d := daemon.Start(t, r.Router)
	if err := hookIs(d, "r0", engine.TC); err != nil {
		t.Error(err)
	}
	if out := r.Router.Run("ip", "-d", "link", "show", "dev", "r0"); !strings.Contains(out, fmt.Sprintf("id %d ", id)) {
		t.Errorf("the foreign program %d is gone: %s", id, out)
	}
}

// foreignXDP attaches a program that passes everything, until the end of the test.
func foreignXDP(t *testing.T, d testkit.Dev) ebpf.ProgramID {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	err = d.NS.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: d.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

func TestLoweringWithAMarkWhileTheDaemonRuns(t *testing.T) {
	r, d := start(t)
	forwarded(t, r, d)
	if out, err := daemon.Command(t, r.Router, "load", "--mark", "0x40000000", "../../examples/router.nft"); err != nil {
		t.Fatalf("load --mark: %v: %s", err, out)
	}
	testkit.MustAwait(t, 5*time.Second, func() error {
		if f := d.Status().Flowtables; len(f) != 1 || f[0].Mark != 0x40000000 {
			return fmt.Errorf("flowtables %+v", f)
		}
		return nil
	})
	before := d.Status().Stats.FastPackets().Packets
	udp := testkit.OpenUDP(t, r.Path(false, 5003), testkit.UDPOptions{})
	if err := udp.Exchange(200, 1000, time.Second).Whole(); err != nil {
		t.Error(err)
	}
	if got := d.Status().Stats.FastPackets().Packets - before; got < 300 {
		t.Errorf("%d of 400 packets were fast with a mark", got)
	}
}

func TestNotRootIsRefusedByEveryCommandThatChanges(t *testing.T) {
	testkit.Need(t, testkit.Root)
	// Readable for everybody: the directory that holds the program may not be.
	dir, err := os.MkdirTemp("", "nft-offload-plain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "nft-offload")
	data, err := os.ReadFile(daemon.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, data, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run"}, {"load", "/dev/null"}, {"load", "--confirm", "5s", "/dev/null"}, {"confirm"}, {"rollback"}, {"enable", "lo"}, {"disable"}, {"withdraw"},
	} {
		cmd := exec.Command(program, args...)
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		if daemon.ExitCode(err) != 3 || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "root is needed") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

func TestWithoutBPFFSTheErrorNamesTheWayOut(t *testing.T) {
	r := router(t, engine.TC)
	// What `ip netns exec` does: a mount namespace of its own with a fresh /sys.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", r.Router.Name, daemon.Binary(t), "run")
	out, err := cmd.CombinedOutput()
	if daemon.ExitCode(err) != 4 || !strings.Contains(string(out), "--netns") {
		t.Errorf("run under ip netns exec: %v: %s", err, out)
	}
}

func TestNetnsFlagEntersTheNamespace(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	d := daemon.Start(t, r.Router)
	for _, name := range []string{r.Router.Name, r.Router.Path()} {
		out, err := exec.Command(daemon.Binary(t), "--netns", name, "status", "--json").Output()
		var s engine.Status
		if err := errors.Join(err, json.Unmarshal(out, &s)); err != nil || s.PID != d.PID() {
			t.Errorf("status --netns %s: %v: %s", name, err, out)
		}
	}
}

func TestIdleTCPConnectionGetsItsTimeoutBack(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		load(t, r)
		d := daemon.Start(t, r.Router, devices(hook)...)
		tcp, err := testkit.ConnectTCP(t, r.Path(false, 5001), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tcp.Transfer(testkit.Load{Up: 200_000, Down: 200_000, Rate: 1000, Size: 100}); err != nil {
			t.Fatal(err)
		}
		if fast := d.Status().Stats.FastPackets().Packets; fast < 3000 {
			t.Fatalf("%d packets were fast", fast)
		}
		// What was idle for the hard limit is restored by the next sweep; the kernel's own value is five days.
		testkit.MustAwait(t, 10*time.Second, func() error {
			if left := tracked(t, r, 5001).Timeout; left < 400000*time.Second {
				return fmt.Errorf("%s left", left)
			}
			return nil
		})
		if err := tcp.Finish(5 * time.Second); err != nil {
			t.Error(err)
		}
		if e := tracked(t, r, 5001); e.TCP == nil || e.TCP.State != conntrack.TCPTimeWait {
			t.Errorf("after FIN: %s", e)
		}
	})
}

// tracked reads the only connection to a port.
func tracked(t *testing.T, r *testkit.Router, port uint16) conntrack.Entry {
	t.Helper()
	var found []conntrack.Entry
	err := r.Router.Do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing was written
		for e, err := range c.Dump(conntrack.Filter{}) {
			if err != nil {
				return err
			}
			if e.Orig.Dst.Port() == port {
				found = append(found, e)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%d connections to port %d: %v", len(found), port, found)
	}
	return found[0]
}

func TestDropRuleIsInForceAtOnce(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		r := router(t, hook)
		load(t, r)
		d := daemon.Start(t, r.Router, devices(hook)...)
		udp := forwarded(t, r, d)
		stats := make(chan testkit.UDPStats, 1)
		go func() { stats <- udp.Exchange(1500, 1000, 300*time.Millisecond) }()
		before := d.Status().Stats.FastPackets().Packets
		testkit.MustAwait(t, 5*time.Second, func() error {
			if got := d.Status().Stats.FastPackets().Packets - before; got < 500 {
				return fmt.Errorf("%d packets", got)
			}
			return nil
		})
		r.Router.Run("nft", "insert", "rule", "inet", "filter", "forward", "udp", "dport", "5002", "drop")
		since := time.Now()
		s := <-stats
		if s.Up.Received >= s.Sent {
			t.Fatalf("nothing was dropped: %+v", s)
		}
		const limit = 200 * time.Millisecond
		if late := s.Up.Last.Sub(since); late > limit {
			t.Errorf("datagrams passed until %v after the rule, limit %v", late, limit)
		} else {
			t.Logf("the last datagram passed %v after the rule was there", late)
		}
	})
}

func TestDaemonWhoseLogReaderDiedStillWithdraws(t *testing.T) {
	r := router(t, engine.TC)
	load(t, r)
	testkit.CheckRestored(t, 10*time.Second, snapshotOptions(), r.Router)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon.Binary(t), "run")
	cmd.Stderr = writer
	if err := r.Router.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_ = writer.Close()
	lines := bufio.NewScanner(reader)
	running := false
	for !running && lines.Scan() {
		running = strings.Contains(lines.Text(), "msg=running")
	}
	if !running {
		t.Fatalf("the daemon ended: %v", lines.Err())
	}
	_ = reader.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("daemon: %v", err)
	}
}
