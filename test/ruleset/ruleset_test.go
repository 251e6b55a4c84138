// Package ruleset_test runs the built program on rulesets with ingress chains, and compares what becomes of packets with
// what nftables says of them.
package ruleset_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// limit is how long anything may take that takes milliseconds.
const limit = 10 * time.Second

// machine is a host with a device r0, and another one that sends to it.
type machine struct {
	t            *testing.T
	host, sender *testkit.NS
}

// blocklist drops what comes from a set of addresses and from one more. A chain behind counts what passes.
const blocklist = `
table netdev guard {
	set blocked { type ipv4_addr; elements = { 10.9.0.3 }; }
	chain in {
		type filter hook ingress device "r0" priority 0; policy accept;
		ip saddr @blocked counter drop comment "the set"
		ip saddr 10.9.0.4 udp dport 9 counter drop comment "the one"
	}
}
table ip seen {
	chain in {
		type filter hook input priority 0;
		udp dport 9 counter
	}
}`

func newMachine(t *testing.T) *machine {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	m := &machine{t: t, host: testkit.NewNS(t, "host"), sender: testkit.NewNS(t, "sender")}
	testkit.Veth(t, m.host, "r0", m.sender, "c0")
	m.host.Script(`
		ip link set lo up
		ip link set r0 address 02:00:00:00:09:01
		ip addr add 10.9.0.1/24 dev r0
		ip link set r0 up`)
	m.sender.Script(`
		ip link set lo up
		ip addr add 10.9.0.2/24 dev c0
		ip addr add 10.9.0.3/24 dev c0
		ip addr add 10.9.0.4/24 dev c0
		ip link set c0 up
		ip neigh replace 10.9.0.1 lladdr 02:00:00:00:09:01 dev c0 nud permanent`)
	m.host.NFTables(blocklist)
	return m
}

// run starts the daemon, and returns when rules run early.
func (m *machine) run(hook engine.Hook, args ...string) *daemon.Daemon {
	m.t.Helper()
	d := daemon.Start(m.t, m.host, append([]string{"--device", "r0=" + string(hook)}, args...)...)
	m.awaitEarly(d)
	return d
}

func (m *machine) awaitEarly(d *daemon.Daemon) {
	m.t.Helper()
	testkit.MustAwait(m.t, limit, func() error {
		s := d.Status().Rules
		if !s.Executing || len(s.Devices) != 1 || s.Devices[0].Hook == engine.Off {
			return fmt.Errorf("rules do not run early: %+v", s)
		}
		return nil
	})
}

// send sends n datagrams from an address of the sender.
func (m *machine) send(from string, n int) {
	m.t.Helper()
	err := m.sender.Do(func() error {
		// Not connected, because nobody listens: the answer to one datagram would be an error for the next.
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)})
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // what was sent is sent
		for range n {
			if _, err := c.WriteToUDP(make([]byte, 20), &net.UDPAddr{IP: net.ParseIP("10.9.0.1"), Port: 9}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// passed is how many datagrams came behind the chain.
func (m *machine) passed() int {
	return m.counter("ip", "seen", "in", `udp dport 9 counter packets (\d+)`)
}

// dropped is how many nftables itself has dropped with the rule that has this comment.
func (m *machine) dropped(comment string) int {
	return m.counter("netdev", "guard", "in", `counter packets (\d+) bytes \d+ drop comment "`+comment+`"`)
}

func (m *machine) counter(family, table, chain, pattern string) int {
	m.t.Helper()
	text := m.host.Run("nft", "list", "chain", family, table, chain)
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		m.t.Fatalf("no %q in %s", pattern, text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// handle is that of the rule with this comment.
func (m *machine) handle(comment string) string {
	m.t.Helper()
	text := m.host.Run("nft", "-a", "list", "chain", "netdev", "guard", "in")
	found := regexp.MustCompile(`comment "` + comment + `" # handle (\d+)`).FindStringSubmatch(text)
	if found == nil {
		m.t.Fatalf("no rule %q in %s", comment, text)
	}
	return found[1]
}

// counts are what a command says that a rule has counted: early, and with what nftables has counted.
func (m *machine) counts(handle string, command ...string) (early, all uint64) {
	m.t.Helper()
	out, err := daemon.Command(m.t, m.host, append(command, "--json")...)
	if err != nil {
		m.t.Fatalf("%v: %v: %s", command, err, out)
	}
	var doc struct {
		Rules []struct {
			Handle  int
			Packets uint64
			Early   engine.Counter
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		m.t.Fatal(err)
	}
	for _, r := range doc.Rules {
		if strconv.Itoa(r.Handle) == handle {
			return r.Early.Packets, r.Packets
		}
	}
	m.t.Fatalf("%v does not know rule %s: %s", command, handle, out)
	return 0, 0
}

func hooks(t *testing.T, f func(t *testing.T, hook engine.Hook)) {
	for _, h := range []engine.Hook{engine.TC, engine.XDP} {
		t.Run(string(h), func(t *testing.T) { f(t, h) })
	}
}

func TestBlockedPacketsEndBeforeNftables(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		d := m.run(hook)
		m.send("10.9.0.3", 100)
		m.send("10.9.0.4", 50)
		m.send("10.9.0.2", 30)
		if n := m.passed(); n != 30 {
			t.Errorf("%d packets passed, want 30", n)
		}
		if set, one := m.dropped("the set"), m.dropped("the one"); set+one != 0 {
			t.Errorf("nftables dropped %d and %d itself", set, one)
		}
		dev := d.Status().Rules.Devices[0]
		if dev.Hook != hook || dev.Early != 2 || dev.Packets.Dropped != 150 {
			t.Errorf("status: %+v", dev)
		}
		for _, command := range [][]string{{"status", "--rules"}, {"plan", "--counters"}} {
			if early, all := m.counts(m.handle("the set"), command...); early != 100 || all != 100 {
				t.Errorf("%v: %d of the set, %d of them early", command, all, early)
			}
			if early, all := m.counts(m.handle("the one"), command...); early != 50 || all != 50 {
				t.Errorf("%v: %d of the one, %d of them early", command, all, early)
			}
		}
		out, err := daemon.Command(t, m.host, "why", "rule", "netdev", "guard", "in", "handle", m.handle("the one"))
		if err != nil || !strings.Contains(out, "50 packets") {
			t.Errorf("why rule: %v: %s", err, out)
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRemovedRuleAndElementLetPacketsPass(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		d := m.run(hook)
		m.host.Run("nft", "delete", "rule", "netdev", "guard", "in", "handle", m.handle("the one"))
		m.host.Run("nft", "delete", "element", "netdev", "guard", "blocked", "{ 10.9.0.3 }")
		for _, from := range []string{"10.9.0.3", "10.9.0.4"} {
			testkit.MustAwait(t, limit, func() error {
				before := m.passed()
				m.send(from, 1)
				if m.passed() == before {
					return fmt.Errorf("nothing passes from %s", from)
				}
				return nil
			})
			before := m.passed()
			m.send(from, 100)
			if n := m.passed() - before; n != 100 {
				t.Errorf("%d of 100 packets from %s pass", n, from)
			}
		}
		m.awaitEarly(d)
		m.host.Run("nft", "add", "element", "netdev", "guard", "blocked", "{ 10.9.0.4 }")
		testkit.MustAwait(t, limit, func() error {
			before := m.passed()
			early := d.Status().Rules.Devices[0].Packets.Dropped
			m.send("10.9.0.4", 10)
			if m.passed() != before || d.Status().Rules.Devices[0].Packets.Dropped != early+10 {
				return errors.New("the new element does not drop early")
			}
			return nil
		})
	})
}

func TestKilledDaemonLeavesTheRulesToNftables(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		d := m.run(hook)
		m.send("10.9.0.3", 100)
		d.Kill9()
		sent := 100
		testkit.MustAwait(t, limit, func() error {
			before := m.dropped("the set")
			m.send("10.9.0.3", 1)
			sent++
			if m.dropped("the set") == before {
				return errors.New("nftables does not see the packet")
			}
			return nil
		})
		own := m.dropped("the set")
		m.host.Run("nft", "delete", "element", "netdev", "guard", "blocked", "{ 10.9.0.3 }")
		m.send("10.9.0.3", 10)
		if n := m.passed(); n != 10 {
			t.Errorf("%d of 10 packets pass behind an element that is gone", n)
		}
		m.host.Run("nft", "add", "element", "netdev", "guard", "blocked", "{ 10.9.0.3 }")

		d = m.run(hook)
		m.send("10.9.0.3", 20)
		if n := m.dropped("the set"); n != own {
			t.Errorf("after a restart nftables drops %d itself", n-own)
		}
		sent += 20
		if early, all := m.counts(m.handle("the set"), "status", "--rules"); all != uint64(sent) || early != all-uint64(own) {
			t.Errorf("%d were sent; counted are %d, of them %d early, and by nftables %d", sent, all, early, own)
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		testkit.CheckRestored(t, limit, snapshotOptions(), m.host)
		d := m.run(hook)
		m.send("10.9.0.3", 10)
		d.Kill9()
		if out, err := daemon.Command(t, m.host, "withdraw"); err != nil {
			t.Fatalf("withdraw: %v: %s", err, out)
		}
		if _, err := os.Stat(d.Pins()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("pins are left: %v", err)
		}
		if out, err := daemon.Command(t, m.host, "withdraw"); err != nil {
			t.Errorf("withdraw again: %v: %s", err, out)
		}
	})
}

func TestRulesOffLeavesThemToNftables(t *testing.T) {
	m := newMachine(t)
	d := daemon.Start(t, m.host, "--rules", "off")
	m.send("10.9.0.3", 10)
	if n := m.dropped("the set"); n != 10 {
		t.Errorf("nftables dropped %d of 10", n)
	}
	if s := d.Status().Rules; s.On || len(s.Devices) != 0 {
		t.Errorf("status: %+v", s)
	}
}

// snapshotOptions looks at all eBPF objects of the machine where tests run one after the other; elsewhere somebody
// else's come and go.
func snapshotOptions() testkit.SnapshotOptions {
	o := testkit.SnapshotOptions{}
	if os.Getenv(testkit.StrictEnv) == "" {
		o.BPF = func(string) bool { return false }
	}
	return o
}

func TestKeptProgramsLeaveTheRulesToNftables(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		d := m.run(hook, "--keep")
		m.send("10.9.0.3", 10)
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		m.send("10.9.0.3", 10)
		if n := m.dropped("the set"); n != 10 {
			t.Errorf("nftables dropped %d of 10", n)
		}
		if early, all := m.counts(m.handle("the set"), "plan", "--counters"); early != 10 || all != 20 {
			t.Errorf("with no daemon: %d early, %d in all", early, all)
		}
		if out, err := daemon.Command(t, m.host, "withdraw"); err != nil {
			t.Errorf("withdraw: %v: %s", err, out)
		}
	})
}

// The sets are looked up as a hash and as a search tree.
func TestElementsReachTheProgramWhileItRuns(t *testing.T) {
	hooks(t, func(t *testing.T, hook engine.Hook) {
		m := newMachine(t)
		m.host.Run("nft", "add", "set", "netdev", "guard", "nets", "{ type ipv4_addr; flags interval; }")
		m.host.Run("nft", "insert", "rule", "netdev", "guard", "in", "ip", "saddr", "@nets", "counter", "drop", "comment", `"the nets"`)
		d := m.run(hook)
		for _, c := range []struct{ set, element string }{{"blocked", "10.9.0.2"}, {"nets", "10.9.0.2/31"}} {
			for round := range 5 {
				m.host.Run("nft", "add", "element", "netdev", "guard", c.set, "{ "+c.element+" }")
				begin := time.Now()
				testkit.MustAwait(t, limit, func() error {
					early := d.Status().Rules.Devices[0].Packets.Dropped
					m.send("10.9.0.2", 1)
					if d.Status().Rules.Devices[0].Packets.Dropped != early+1 {
						return errors.New("the element does not drop early")
					}
					return nil
				})
				t.Logf("%s, round %d: %v", c.set, round, time.Since(begin))
				m.host.Run("nft", "delete", "element", "netdev", "guard", c.set, "{ "+c.element+" }")
				testkit.MustAwait(t, limit, func() error {
					before := m.passed()
					m.send("10.9.0.2", 1)
					if m.passed() == before {
						return errors.New("what is no element any more drops")
					}
					return nil
				})
			}
		}
		m.awaitEarly(d)
	})
}
