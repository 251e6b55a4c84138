// Package flows drives real connections through the daemon: sockets at both ends, the program in the middle.
package flows

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

const port = 5001 // where servers listen

// translation is one form of NAT with the same meaning for IPv4 and IPv6.
type translation struct {
	name    string
	forward bool // clients dial the router's own address
	source  string
}

func translations() []translation {
	return []translation{
		{name: "none"},
		{name: "masquerade", source: "masquerade"},
		{name: "snat", source: "snat"},
		{name: "dnat", forward: true},
		{name: "dnat+masquerade", forward: true, source: "masquerade"},
	}
}

// ruleset hands established flows over on both ports, as users write it.
func (n translation) ruleset() string {
	var b strings.Builder
	b.WriteString(`table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { r0, r1 }
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
		ct state invalid drop
		ct state new accept
	}
}
table inet nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
`)
	if n.forward {
		fmt.Fprintf(&b, "\t\tip daddr 10.0.1.1 meta l4proto { tcp, udp } th dport 8000 dnat ip to 198.51.100.2:%d\n", port)
		fmt.Fprintf(&b, "\t\tip6 daddr 2001:db8:1::1 meta l4proto { tcp, udp } th dport 8000 dnat ip6 to [2001:db8:2::2]:%d\n", port)
	}
	b.WriteString("\t}\n\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n")
	switch n.source {
	case "masquerade":
		b.WriteString("\t\toifname r1 masquerade\n")
	case "snat":
		b.WriteString("\t\toifname r1 meta nfproto ipv4 snat ip to 198.51.100.7\n\t\toifname r1 meta nfproto ipv6 snat ip6 to 2001:db8:2::7\n")
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

func (n translation) path(r *testkit.Router, six bool) testkit.Path {
	p := r.Path(six, port)
	if n.forward {
		p.Listen = p.Dial
		p.Dial = netip.AddrPortFrom(r.R0.Addr(six), 8000)
	}
	return p
}

func eachHook(t *testing.T, f func(t *testing.T, hook engine.Hook)) {
	t.Helper()
	for _, h := range []engine.Hook{engine.TC, engine.XDP} {
		t.Run(string(h), func(t *testing.T) { f(t, h) })
	}
}

// options say how a test wants its router.
type options struct {
	testkit.RouterOptions
	changes bool // the test changes the router: what withdraw restores cannot be compared
}

// finished are ends whose packets carry their final checksums, as packets from a wire do.
func finished() options {
	return options{RouterOptions: testkit.RouterOptions{NoChecksumOffload: true}}
}

// routed is the topology with a ruleset loaded by the program and its daemon running.
func routed(t *testing.T, hook engine.Hook, n translation, o options, args ...string) (*testkit.Router, *daemon.Daemon) {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	o.XDP = o.XDP || hook == engine.XDP
	r := testkit.NewRouter(t, o.RouterOptions)
	// Who answers for the address that snat translates to.
	r.Router.Run("ip", "addr", "add", "198.51.100.7/24", "dev", "r1")
	r.Router.Run("ip", "addr", "add", "2001:db8:2::7/64", "dev", "r1", "nodad")
	loadText(t, r, n.ruleset())
	if !o.changes {
		// Tests run side by side, so the machine's eBPF objects are another package's to compare (test/daemon).
		testkit.CheckRestored(t, 10*time.Second, testkit.SnapshotOptions{BPF: func(string) bool { return false }}, r.Client, r.Router, r.Server)
	}
	args = append([]string{"--device", "r0=" + string(hook), "--device", "r1=" + string(hook)}, args...)
	return r, daemon.Start(t, r.Router, args...)
}

func loadText(t *testing.T, r *testkit.Router, ruleset string, flags ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte("flush ruleset\n"+ruleset), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := daemon.Command(t, r.Router, append([]string{"load", file}, flags...)...); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
}
