package ruleset_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// shape is a chain that becomes a program of another kind: hash tables, trees, tuple spaces, comparisons one by one, and
// chunks that call each other.
type shape struct {
	name  string
	rules int    // at least so many, of which each is one of those in text with other addresses and ports
	text  string // of its chain
}

const manyRules = 10_000

func shapes() []shape {
	return []shape{
		{"exact", manyRules, "ip saddr 10.0.0.0 tcp dport 80 counter drop"},
		{"prefix", manyRules, "ip saddr 10.0.0.0/24 counter drop"},
		{"six", manyRules, "ip6 saddr 2001:db8::/48 counter drop"},
		{"range", manyRules, "ip saddr 10.0.0.4-10.0.0.77 counter drop"},
		{"tuples", 2000, "ip saddr 10.0.0.0/24 udp dport 7-9 counter drop"},
		{"mixed", manyRules, `
			ip saddr 10.0.0.0 tcp dport 80 counter drop
			ip daddr 10.0.0.0/24 tcp dport { 22, 80-90 } drop
			ip6 saddr 2001:db8::/48 counter drop
			udp dport 2 counter drop
			ether saddr 02:00:00:00:00:01 drop`},
		{"sets", 100, `
			ip ttl 0 ip saddr @a drop
			ip ttl 0 ip saddr @b drop
			ip ttl 0 ip saddr . udp dport @c drop
			ip6 hoplimit 0 ip6 saddr vmap @d`},
		{"alone", 2000, `
			tcp flags & (syn | ack) == syn tcp dport 0 tcp sport 1-1000 drop
			@nh,3,32 0x101 counter drop
			@ll,40,40 & 0xfff0ff 0x5 drop
			@th,32,32 & 0xf0f0 != 0 udp sport 0 counter drop`},
		{"jumps", 1000, "udp sport 0 counter jump over"},
	}
}

// shapesText is a ruleset with a chain for each shape, on a device of its own.
func shapesText() string {
	var b strings.Builder
	b.WriteString(`table netdev t {
	set a { type ipv4_addr; size 1000000; }
	set b { type ipv4_addr; flags interval; }
	set c { type ipv4_addr . inet_service; flags interval; }
	map d { type ipv6_addr : verdict; flags interval; }
	chain over { ip ttl 3 counter return; udp dport 5 counter drop; }
`)
	for i, s := range shapes() {
		fmt.Fprintf(&b, "chain c%d {\ntype filter hook ingress device \"r%[1]d\" priority 0; policy accept;\n%s\n}\n", i, s.text)
	}
	b.WriteString("}\n")
	return b.String()
}

// sharesOfShapes is what runs early of each shape.
func sharesOfShapes(t *testing.T, hook engine.Hook) map[string]share.Share {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chain.nft")
	if err := os.WriteFile(file, []byte(shapesText()), 0o600); err != nil {
		t.Fatal(err)
	}
	rs, err := nft.Read(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	var machine caps.Machine
	hooks, names := map[string]string{}, map[string]shape{}
	for i, s := range shapes() {
		name := fmt.Sprintf("r%d", i)
		machine.Devices = append(machine.Devices, caps.Device{Name: name, Kind: "veth", Driver: "veth", Type: "ether"})
		hooks[name], names[name] = string(hook), s
	}
	out := map[string]share.Share{}
	for _, sh := range plan.Make(rs, machine, plan.Options{NoHardware: true, SetsChange: true, Hooks: hooks}).Shares() {
		s := names[sh.Devices[0]]
		if len(sh.Devices) != 1 || len(sh.Entries) == 0 {
			t.Errorf("%s: %d entries for %v", s.name, len(sh.Entries), sh.Devices)
		}
		out[s.name] = many(sh, s.rules)
	}
	if len(out) != len(shapes()) {
		t.Fatalf("%d shares of %d shapes", len(out), len(shapes()))
	}
	return out
}

// many repeats the entries of a share with other keys, until there are so many. What stands in front of all rules stands
// there once.
func many(sh share.Share, rules int) share.Share {
	first := slices.IndexFunc(sh.Entries, func(e share.Entry) bool { return e.Ending != share.Unsure })
	if first < 0 {
		return sh
	}
	once := sh.Entries[first:]
	sh.Entries = slices.Clone(sh.Entries[:first])
	for i := uint64(0); len(sh.Entries) < rules; i++ {
		at := len(sh.Entries) - first
		for _, e := range once {
			e.To += at
			e.AcceptTo += at
			e.ReturnTo += at
			e.Rule.Number += at
			e.Conds = slices.Clone(e.Conds)
			for c := range e.Conds {
				e.Conds[c] = moved(e.Conds[c], i)
			}
			sh.Entries = append(sh.Entries, e)
		}
	}
	return sh
}

// moved is the condition with keys that are so many of their sizes farther on, where the field has room.
func moved(c share.Cond, by uint64) share.Cond {
	keys := c.Keys
	c.Keys = nil
	for _, k := range keys {
		k = slices.Clone(k)
		for f, iv := range k {
			at := c.Fields[f].At
			hi, lo := by*(iv.Last.Hi-iv.First.Hi+1), uint64(0)
			if iv.First.Hi == iv.Last.Hi {
				hi, lo = 0, by*(iv.Last.Lo-iv.First.Lo+1)
			}
			room := uint64(1) << min(at.Len, 63)
			if at.Base == space.Beyond || at.Len <= 64 && (lo >= room || iv.Last.Lo >= room-lo) {
				continue
			}
			k[f].First.Hi, k[f].Last.Hi = iv.First.Hi+hi, iv.Last.Hi+hi
			k[f].First.Lo, k[f].Last.Lo = iv.First.Lo+lo, iv.Last.Lo+lo
		}
		c.Keys = append(c.Keys, k)
	}
	return c
}

// TestProgramsOfAllShapesLoad: what a verifier has to look at differs from kernel to kernel, and so does what it refuses.
func TestProgramsOfAllShapesLoad(t *testing.T) {
	testkit.Need(t, testkit.BPF, testkit.NFT)
	hooks(t, func(t *testing.T, hook engine.Hook) {
		shares := sharesOfShapes(t, hook)
		for _, s := range shapes() {
			t.Run(s.name, func(t *testing.T) { loads(t, shares[s.name]) })
		}
	})
}

func loads(t *testing.T, sh share.Share) {
	t.Helper()
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
