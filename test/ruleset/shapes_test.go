package ruleset_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// manyRules is how long a chain is that has to load.
const manyRules = 10_000

// shape is a chain of rules, or of their sets, that becomes a program of another kind.
type shape struct {
	name  string
	rules int
	head  string                             // sets and chains in front
	rule  func(text *strings.Builder, i int) // writes rule i
}

// shapes are all kinds of code that programs have: hash tables, trees, tuple spaces, comparisons one by one and chunks
// that call each other.
func shapes() []shape {
	each := func(format string, args ...func(i int) any) func(*strings.Builder, int) {
		return func(b *strings.Builder, i int) {
			values := make([]any, len(args))
			for n, f := range args {
				values[n] = f(i)
			}
			fmt.Fprintf(b, format+"\n", values...)
		}
	}
	high, low := func(i int) any { return i >> 8 }, func(i int) any { return i & 255 }
	number := func(i int) any { return i }
	return []shape{
		{"exact", manyRules, "", each("ip saddr 10.0.%d.%d tcp dport 80 counter drop", high, low)},
		{"prefix", manyRules, "", each("ip saddr 10.%d.%d.0/24 counter drop", high, low)},
		{"six", manyRules, "", each("ip6 saddr 2001:db8:%x::/48 counter drop", number)},
		{"range", manyRules, "", each("ip saddr 10.%d.%d.4-10.%[1]d.%[2]d.77 counter drop", high, low)},
		{"tuples", 2000, "", each("ip saddr 10.%d.%d.0/24 udp dport %d-65000 counter drop", high, low, number)},
		{"mixed", manyRules, "", mixed},
		{
			"sets", 100, `set a { type ipv4_addr; size 1000000; }
set b { type ipv4_addr; flags interval; }
set c { type ipv4_addr . inet_service; flags interval; }
map d { type ipv6_addr : verdict; flags interval; }
chain over { udp dport 5 counter drop; }
`,
			each("ip ttl %d ip saddr @a drop\nip ttl %[1]d ip saddr @b counter drop\nip ttl %[1]d ip saddr . udp dport @c drop\nip6 hoplimit %[1]d ip6 saddr vmap @d", number),
		},
		{"alone", 2000, "", each("@ll,%d,32 & 0xfff0ff != %[1]d counter drop", func(i int) any { return 32 + i%64 })},
		{"jumps", 1000, "chain over { ip ttl 3 counter return; udp dport 5 counter drop; }\n", each("udp sport %d counter jump over", number)},
	}
}

// mixed is rules of several shapes in turn.
func mixed(b *strings.Builder, i int) {
	high, low := i>>8, i&255
	switch i % 5 {
	case 0:
		fmt.Fprintf(b, "ip saddr 10.0.%d.%d counter drop\n", high, low)
	case 1:
		fmt.Fprintf(b, "ip daddr 10.%d.%d.0/24 tcp dport { 22, 80-90 } drop\n", high, low)
	case 2:
		fmt.Fprintf(b, "ip6 saddr 2001:db8:%x::/48 counter drop\n", i)
	case 3:
		fmt.Fprintf(b, "udp dport %d counter drop\n", i)
	default:
		fmt.Fprintf(b, "ether saddr 02:00:00:00:%02x:%02x drop\n", high, low)
	}
}

func (s shape) text() string {
	var b strings.Builder
	b.WriteString("table netdev t {\n" + s.head + "chain in {\ntype filter hook ingress device \"r0\" priority 0; policy accept;\n")
	for i := range s.rules {
		s.rule(&b, i)
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// share is what of the shape's chain runs early: all of it.
func (s shape) share(t *testing.T, hook engine.Hook) share.Share {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chain.nft")
	if err := os.WriteFile(file, []byte(s.text()), 0o600); err != nil {
		t.Fatal(err)
	}
	rs, err := nft.Read(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	machine := caps.Machine{Devices: []caps.Device{{Name: "r0", Kind: "veth", Driver: "veth", Type: "ether"}}}
	shares := plan.Make(rs, machine, plan.Options{NoHardware: true, SetsChange: true, Hooks: map[string]string{"r0": string(hook)}}).Shares()
	if len(shares) != 1 || len(shares[0].Entries) < s.rules {
		t.Fatalf("%d shares of %d rules", len(shares), s.rules)
	}
	return shares[0]
}

// TestProgramsOfAllShapesLoad: what a verifier has to look at differs from kernel to kernel, and so does what it refuses.
func TestProgramsOfAllShapesLoad(t *testing.T) {
	testkit.Need(t, testkit.BPF, testkit.NFT)
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			hooks(t, func(t *testing.T, hook engine.Hook) { s.loads(t, hook) })
		})
	}
}

func (s shape) loads(t *testing.T, hook engine.Hook) {
	sh := s.share(t, hook)
	made, err := bpfgen.Compile(sh, bpfgen.Options{Next: true})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("shapes-%p", t))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p, err := rules.Open(filepath.Join(dir, "rules"), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	l, err := p.Load(rules.Device{Name: "r0", Hook: sh.Hook, Share: &sh, Made: made, Legend: make([]rules.Rule, len(made.Counters))})
	if err != nil {
		t.Fatal(err)
	}
	info, err := l.Entry.Info()
	if err != nil {
		t.Fatal(err)
	}
	verified, _ := info.VerifiedInstructions()
	t.Logf("%d instructions in %d chunks, the verifier looked at %d in the first, %v", made.Instructions, len(made.Chunks), verified, time.Since(begun).Round(time.Millisecond))
	if err := errors.Join(l.End(), p.Close()); err != nil {
		t.Error(err)
	}
}
