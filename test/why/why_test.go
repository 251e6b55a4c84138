// Package why_test asks `nft-offload why` about real flows through a router, of which something is known to keep each off
// the fast path, or nothing.
package why_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
	"github.com/nft-offload/nft-offload/internal/why"
)

const port = 5001 // where servers listen

// answer is what a program reads of an answer.
type answer struct {
	Subject  string     `json:"subject"`
	Stage    why.Stage  `json:"stage"`
	Reason   string     `json:"reason"`
	Sentence string     `json:"sentence"`
	Evidence []why.Line `json:"evidence"`
	Advice   []string   `json:"advice"`
	Fast     bool       `json:"fast"`
	In       string     `json:"in"`
	Out      string     `json:"out"`
}

func (a answer) String() string {
	return fmt.Sprintf("%s [%s, %s] %s\n%v\n%v", a.Subject, a.Stage, a.Reason, a.Sentence, a.Evidence, a.Advice)
}

// says reports whether the answer has a text somewhere.
func (a answer) says(text string) bool {
	all := slices.Concat([]string{a.Sentence}, a.Advice)
	for _, l := range a.Evidence {
		all = append(all, l.What+": "+l.Text)
	}
	return strings.Contains(strings.Join(all, "\n"), text)
}

type answers struct {
	Flows []answer `json:"flows"`
	More  int      `json:"more"`
}

// ask runs `nft-offload why` inside a namespace and decodes what it prints as JSON.
func ask[T any](t *testing.T, ns *testkit.NS, args ...string) T {
	t.Helper()
	out, err := daemon.Command(t, ns, append([]string{"why", "--json"}, args...)...)
	if err != nil {
		t.Fatalf("why %v: %v\n%s", args, err, out)
	}
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("why %v: %v\n%s", args, err, out)
	}
	return v
}

// flow asks about the one flow that a pattern means.
func flow(t *testing.T, ns *testkit.NS, pattern ...string) answer {
	t.Helper()
	a := ask[answers](t, ns, append([]string{"flow"}, pattern...)...)
	if len(a.Flows) != 1 || a.More != 0 {
		t.Fatalf("why flow %v: %d flows and %d more: %v", pattern, len(a.Flows), a.More, a.Flows)
	}
	return a.Flows[0]
}

// handover is a ruleset with a flowtable over some devices and rules in front of `flow add`.
func handover(devices, before string) string {
	return fmt.Sprintf(`table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { %s }
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		%s
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
		ct state new accept
	}
}
`, devices, before)
}

const both = "r0, r1"

// chain is a table with one chain.
func chain(hook, priority, rules string) string {
	return fmt.Sprintf("table inet extra {\n\tchain c {\n\t\ttype filter hook %s priority %s; policy accept;\n\t\t%s\n\t}\n}\n", hook, priority, rules)
}

// router loads a ruleset with the program, which lowers it where the kernel has no flowtables.
func router(t *testing.T, ruleset string) *testkit.Router {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	r := testkit.NewRouter(t, testkit.RouterOptions{NoChecksumOffload: true})
	load(t, r, ruleset)
	return r
}

func load(t *testing.T, r *testkit.Router, ruleset string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte("flush ruleset\n"+ruleset), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := daemon.Command(t, r.Router, "load", "--lower", file); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
}

// busy is a UDP flow that sends for as long as the test takes.
func busy(t *testing.T, p testkit.Path, o testkit.UDPOptions) *testkit.UDPFlow {
	t.Helper()
	f := testkit.OpenUDP(t, p, o)
	f.Start(500)
	testkit.MustAwait(t, 10*time.Second, func() error {
		if n := f.Stats().Up.Received; n < 50 {
			return fmt.Errorf("%d datagrams arrived", n)
		}
		return nil
	})
	return f
}

// fast waits until the daemon carries packets.
func fast(t *testing.T, d *daemon.Daemon, packets uint64) {
	t.Helper()
	testkit.MustAwait(t, 10*time.Second, func() error {
		if s := d.Status().Stats; s.FastPackets().Packets < packets {
			return fmt.Errorf("not fast: %+v", s)
		}
		return nil
	})
}

// refusal is a ruleset and a kind of flow that something keeps slow.
type refusal struct {
	name    string
	ruleset string
	tcp     bool
	options testkit.UDPOptions
	idle    bool // no daemon runs
	stage   why.Stage
	reason  string
	says    []string
}

func refusals() []refusal {
	established := "ct state established accept"
	return []refusal{
		{
			name: "no flow add at all", ruleset: chain("forward", "0", "ct state established,related accept\n\t\tct state new accept"),
			stage: why.NoFlowAdd, reason: "flow-no-rule", says: []string{"has no `flow add` rule", "nft-offload enable r0 r1"},
		},
		{
			name: "an earlier rule accepts", ruleset: handover(both, established),
			stage: why.NotHandedOver, reason: "flow-no-rule",
			says: []string{"handed over: no", "rule inet filter forward handle ", "(`ct state established accept`) accepts its packets before they come to a rule with `flow add`"},
		},
		{
			name: "a flow add rule for others", ruleset: strings.Replace(handover(both, ""), "ct state established flow add", "ip saddr 192.0.2.0/24 ct state established flow add", 1),
			stage: why.NotHandedOver, reason: "flow-no-rule", says: []string{"its packets do not match rule inet filter forward handle ", "ip saddr 192.0.2.0/24 ct state established flow add"},
		},
		{
			name: "a helper", tcp: true, stage: why.Refused, reason: "flow-helper", says: []string{"the conntrack helper ftp"},
			ruleset: handover(both, "") + "table inet h {\n\tct helper ftp {\n\t\ttype \"ftp\" protocol tcp\n\t}\n\tchain c {\n\t\ttype filter hook prerouting priority 0; policy accept\n\t\tct helper set \"ftp\"\n\t}\n}\n",
		},
		{
			name: "a zone", ruleset: handover(both, "") + chain("prerouting", "-300", "ct zone set 5"),
			stage: why.Refused, reason: "flow-zone", says: []string{"conntrack zone 5"},
		},
		{
			name: "a DSCP that a rule sets", ruleset: handover(both, "") + chain("forward", "10", "ip dscp set cs1"),
			stage: why.Refused, reason: "altered", says: []string{"rule inet extra c handle 2 (`ip dscp set cs1`) changes its packets", "handed over: yes"},
		},
		{
			name: "a device that is not listed", ruleset: handover("r0", ""),
			stage: why.DeviceNotListed, reason: "flow-lower-device-not-listed", says: []string{"it passes r1, which flowtable inet filter f1 does not list", `add element inet filter f1 { "r1" }`},
		},
		{
			name: "one direction only", ruleset: handover(both, ""), options: testkit.UDPOptions{OneWay: true},
			stage: why.State, reason: "no-reply", says: []string{"asymmetric routing"},
		},
		{
			name: "fragments", ruleset: handover(both, ""), options: testkit.UDPOptions{Size: 4000},
			stage: why.Refused, reason: "fragment", says: []string{"unreadable: 10.0.1.2 > 198.51.100.2 by r0: fragment"},
		},
		{
			name: "notrack", ruleset: handover(both, "ct state untracked accept") + chain("prerouting", "-300", "notrack"),
			stage: why.NotTracked, reason: "flow-untracked", says: []string{"notrack"},
		},
		{
			name: "no daemon", ruleset: handover(both, ""), idle: true,
			stage: why.Waiting, reason: "no-daemon", says: []string{"handed over: yes", "`nft-offload run`"},
		},
		{
			name: "a chain on a device", ruleset: handover(both, "") + "table netdev n {\n\tchain c {\n\t\ttype filter hook ingress device r1 priority 0; policy accept;\n\t\tip saddr 192.0.2.1 counter accept\n\t}\n}\n",
			stage: why.DeviceOff, reason: "netdev-chain", says: []string{"ingress chain netdev n c on r1", "remove the chain"},
		},
	}
}

// TestSlowFlowsAreExplained: each flow is kept slow by one thing, which the sentence names.
func TestSlowFlowsAreExplained(t *testing.T) {
	for _, x := range refusals() {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := router(t, x.ruleset)
			if !x.idle {
				daemon.Start(t, r.Router)
			}
			pattern := fmt.Sprintf("198.51.100.2:%d", port)
			if x.tcp {
				tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tcp.Transfer(testkit.Load{Up: 5000, Down: 5000, Rate: 500}); err != nil {
					t.Fatal(err)
				}
			} else {
				busy(t, r.Path(false, port), x.options)
			}
			a := flow(t, r.Router, pattern)
			if a.Stage != x.stage || a.Reason != x.reason || a.Fast {
				t.Errorf("stage %s, reason %q, want %s, %q: %s", a.Stage, a.Reason, x.stage, x.reason, a)
			}
			for _, text := range x.says {
				if !a.says(text) {
					t.Errorf("does not say %q: %s", text, a)
				}
			}
		})
	}
}

// TestCarriedFlowIsSaidToBeByAnyPartOfItsTuple, with a daemon, and without one while its datapath goes on.
func TestCarriedFlowIsSaidToBeByAnyPartOfItsTuple(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, "")+"table inet nat {\n\tchain c {\n\t\ttype nat hook postrouting priority srcnat\n\t\toifname r1 masquerade\n\t}\n}\n")
	d := daemon.Start(t, r.Router)
	for _, six := range []bool{false, true} {
		f := busy(t, r.Path(six, port), testkit.UDPOptions{})
		fast(t, d, 200)
		c, s := f.Local(), netip.AddrPortFrom(r.S0.Addr(six), port)
		for _, pattern := range [][]string{
			{c.String()},
			{c.Addr().String()},
			{fmt.Sprintf(":%d", c.Port())},
			{"udp", s.String()},
			{fmt.Sprintf("%s > %s", c, s)},
			{s.String(), ">", c.Addr().String()},
			{r.R1.Addr(six).String(), s.String()},
			{r.C0.IP4Net.Masked().String()},
		} {
			if six && strings.Contains(pattern[0], "/") {
				pattern[0] = r.C0.IP6Net.Masked().String()
			}
			a := flow(t, r.Router, pattern...)
			if a.Stage != why.Carried || !a.Fast || a.In != "r0" || a.Out != "r1" {
				t.Errorf("why flow %v: %s", pattern, a)
			}
			if !strings.Contains(a.Sentence, "at tc in both directions") || !strings.Contains(a.Sentence, "packets that came within") {
				t.Errorf("why flow %v: %s", pattern, a.Sentence)
			}
		}
		f.Close()
	}
	f := busy(t, r.Path(false, port+1), testkit.UDPOptions{})
	fast(t, d, 800)
	d.Kill9()
	if a := flow(t, r.Router, fmt.Sprintf(":%d", port+1)); a.Stage != why.Carried || !a.says("daemon: none runs; its datapath is pinned") {
		t.Errorf("without a daemon: %s", a)
	}
	if err := f.Stop(time.Second).Whole(); err != nil {
		t.Error(err)
	}
	tcp, err := testkit.ConnectTCP(t, r.Path(false, port+2), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tcp.Transfer(testkit.Load{Up: 20_000, Down: 20_000, Rate: 500}); err != nil {
		t.Fatal(err)
	}
	if a := flow(t, r.Router, fmt.Sprintf(":%d", port+2)); a.Stage != why.Waiting || a.Reason != "not-liberal" || !a.says("and no daemon runs") {
		t.Errorf("a new connection without a daemon: %s", a)
	}
}

// TestCarriedConnectionIsSaidToBe, TCP at XDP, and after its end why it is carried no more.
func TestCarriedConnectionIsSaidToBe(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	r := testkit.NewRouter(t, testkit.RouterOptions{NoChecksumOffload: true, XDP: true})
	load(t, r, handover(both, ""))
	d := daemon.Start(t, r.Router, "--device", "r0=xdp", "--device", "r1=xdp")
	tcp, err := testkit.ConnectTCP(t, r.Path(true, port), 0)
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan error, 1)
	go func() {
		_, err := tcp.Transfer(testkit.Load{Up: 300_000, Down: 300_000, Rate: 500})
		moved <- err
	}()
	fast(t, d, 200)
	if a := flow(t, r.Router, "tcp", fmt.Sprintf(":%d", port)); a.Stage != why.Carried || !a.says("at xdp in both directions") || !a.says("liberal") {
		t.Errorf("%s", a)
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	if err := tcp.Finish(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if a := flow(t, r.Router, "tcp", fmt.Sprintf(":%d", port)); a.Stage != why.State || a.Reason != "flow-tcp-closing" {
		t.Errorf("after its end: %s", a)
	}
}

// TestBusiestOfSeveralFlowsComeFirst, and the others are counted.
func TestBusiestOfSeveralFlowsComeFirst(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, ""))
	d := daemon.Start(t, r.Router)
	quiet := testkit.OpenUDP(t, r.Path(false, port), testkit.UDPOptions{})
	quiet.Exchange(3, 100, time.Second)
	for i := range 3 {
		idle := testkit.OpenUDP(t, r.Path(false, port+10+uint16(i)), testkit.UDPOptions{})
		idle.Exchange(2, 100, time.Second)
	}
	busy(t, r.Path(false, port+1), testkit.UDPOptions{})
	fast(t, d, 100)
	a := ask[answers](t, r.Router, "flow", "198.51.100.2", "--max", "2")
	if len(a.Flows) != 2 || a.More != 3 || a.Flows[0].Stage != why.Carried || !strings.HasSuffix(a.Flows[0].Subject, fmt.Sprintf(":%d", port+1)) {
		t.Errorf("%d flows and %d more: %v", len(a.Flows), a.More, a.Flows)
	}
	if s := a.Flows[1]; s.Stage != why.Waiting {
		t.Errorf("a flow of three packets: %s", s)
	}
}

// TestFlowThatEndsOnTheRouterIsNotForwarded: what people measure first, with iperf on the router.
func TestFlowThatEndsOnTheRouterIsNotForwarded(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, "")+chain("input", "0", "ct state established accept"))
	p := r.Path(false, port)
	p.Server, p.Dial = r.Router, netip.AddrPortFrom(r.R0.Addr(false), port)
	busy(t, p, testkit.UDPOptions{})
	if a := flow(t, r.Router, fmt.Sprintf(":%d", port)); a.Stage != why.NotForwarded {
		t.Errorf("%s", a)
	}
}

// TestAnswersThatTakeAnotherWay: requests pass two listed devices, and answers come in by a third.
func TestAnswersThatTakeAnotherWay(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, ""))
	testkit.Veth(t, r.Router, "r2", r.Server, "s2")
	r.Router.Run("ip", "addr", "add", "203.0.113.1/24", "dev", "r2")
	r.Server.Run("ip", "addr", "add", "203.0.113.2/24", "dev", "s2")
	r.Server.Run("ip", "route", "add", "10.0.1.0/24", "via", "203.0.113.1")
	daemon.Start(t, r.Router)
	busy(t, r.Path(false, port), testkit.UDPOptions{})
	testkit.MustAwait(t, 10*time.Second, func() error {
		if a := flow(t, r.Router, fmt.Sprintf(":%d", port)); a.Stage != why.Waiting || a.Reason != "one-way" || !a.says("the answers take another way (asymmetric routing)") {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
}

// TestNoFlowMatches says what may be missing.
func TestNoFlowMatches(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, ""))
	if a := flow(t, r.Router, "203.0.113.9:443"); a.Stage != why.NotTracked || !a.says("No flow matches") || !a.says("--netns") {
		t.Errorf("%s", a)
	}
}

// TestDevicesAreExplained: one that runs, one that no flowtable lists, one that does not exist.
func TestDevicesAreExplained(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, ""))
	r.Router.Run("ip", "link", "add", "r2", "type", "veth", "peer", "name", "x2")
	if a := ask[answer](t, r.Router, "device", "r0"); a.Stage != why.Waiting || a.Reason != "no-daemon" {
		t.Errorf("without a daemon: %s", a)
	}
	d := daemon.Start(t, r.Router)
	busy(t, r.Path(false, port), testkit.UDPOptions{})
	fast(t, d, 100)
	a := ask[answer](t, r.Router, "device", "r0")
	if a.Stage != why.DeviceOn || !a.Fast || !a.says("programs: egress, ingress") || !a.says("2 directions in the table, 2 of them carried") {
		t.Errorf("%s", a)
	}
	a = ask[answer](t, r.Router, "device", "r2")
	if a.Stage != why.DeviceNotListed || !a.says(`nft 'add element inet filter f1 { "r2" }'`) {
		t.Errorf("%s", a)
	}
	// The advice works.
	r.Router.Run("nft", "add element inet filter f1 { \"r2\" }")
	testkit.MustAwait(t, 10*time.Second, func() error {
		if a := ask[answer](t, r.Router, "device", "r2"); a.Stage != why.DeviceOn {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	if out, err := daemon.Command(t, r.Router, "why", "device", "nosuch"); daemon.ExitCode(err) != 8 || !strings.Contains(out, "there is no device nosuch") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRulesAreExplained: the order that articles print, and a rule of an ingress chain.
func TestRulesAreExplained(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, "ct state established,related accept")+"table netdev n {\n\tchain c {\n\t\ttype filter hook ingress device r0 priority 0; policy accept;\n\t\tip saddr 192.0.2.0/24 counter drop\n\t}\n}\n")
	busy(t, r.Path(false, port), testkit.UDPOptions{})
	a := ask[answer](t, r.Router, "rule", "inet", "filter", "forward", "handle", handle(t, r, "inet filter forward", "jump nft_offload_add"))
	if a.Stage != why.NotHandedOver || a.Reason != "flow-add-not-reached" || a.Fast || !a.says("rule: meta l4proto { tcp, udp } ct state established flow add @f1") {
		t.Errorf("%s", a)
	}
	a = ask[answer](t, r.Router, "rule", "netdev", "n", "c", "handle", handle(t, r, "netdev n c", "counter"))
	if !a.says("rule: ip saddr 192.0.2.0/24 counter") || !a.says("counter: 0 packets, 0 bytes; 0 packets within 1.") || a.Sentence == "" {
		t.Errorf("%s", a)
	}
	for _, args := range [][]string{
		{"inet", "filter", "forward", "handle", "999"},
		{"inet", "filter", "nosuch", "handle", "1"},
		{"ip", "filter", "forward", "handle", "1"},
		{"inet", "filter", "forward", "12"},
		{"inet", "filter", "forward", "handle", "x"},
		{"any", "filter", "forward", "handle", "1"},
	} {
		out, err := daemon.Command(t, r.Router, append([]string{"why", "rule"}, args...)...)
		if daemon.ExitCode(err) != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("why rule %v: exit code %d: %s", args, daemon.ExitCode(err), out)
		}
	}
}

// handle finds the handle of a rule by a part of its text.
func handle(t *testing.T, r *testkit.Router, chain, text string) string {
	t.Helper()
	for line := range strings.Lines(r.Router.Run("nft", append([]string{"-a", "list", "chain"}, strings.Fields(chain)...)...)) {
		if rule, n, ok := strings.Cut(line, "# handle "); ok && strings.Contains(rule, text) {
			return strings.TrimSpace(n)
		}
	}
	t.Fatalf("no rule of %s has %q", chain, text)
	return ""
}

// TestTextFitsEightyColumns and begins with the sentence.
func TestTextFitsEightyColumns(t *testing.T) {
	t.Parallel()
	r := router(t, handover(both, ""))
	d := daemon.Start(t, r.Router)
	busy(t, r.Path(true, port), testkit.UDPOptions{})
	fast(t, d, 100)
	for _, args := range [][]string{{"flow", fmt.Sprintf(":%d", port)}, {"device", "r1"}} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(daemon.Binary(t), append([]string{"why"}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := r.Router.Do(cmd.Run); err != nil || stderr.Len() > 0 {
			t.Fatalf("%v: %v: %s", args, err, stderr.String())
		}
		lines := strings.Split(stdout.String(), "\n")
		for _, l := range lines {
			if utf8.RuneCountInString(l) > 80 {
				t.Errorf("%d columns: %s", utf8.RuneCountInString(l), l)
			}
		}
		if !strings.Contains(lines[1], "carried") {
			t.Errorf("the sentence does not come first:\n%s", stdout.String())
		}
	}
}

// TestMistakesAreUsageErrors.
func TestMistakesAreUsageErrors(t *testing.T) {
	ns := testkit.NewNS(t, "why")
	for _, args := range [][]string{
		{},
		{"flow"},
		{"flow", "nonsense"},
		{"flow", "10.0.0.1", "10.0.0.2", "10.0.0.3"},
		{"flow", "10.0.0.1 > 2001:db8::1"},
		{"flow", "10.0.0.1:99999"},
		{"device"},
		{"device", "a", "b"},
		{"weather"},
		{"flow", ":1", "--max", "0"},
	} {
		out, err := daemon.Command(t, ns, append([]string{"why"}, args...)...)
		if daemon.ExitCode(err) != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("why %v: exit code %d: %s", args, daemon.ExitCode(err), out)
		}
	}
}
