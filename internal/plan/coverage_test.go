package plan_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const coverageDoc = "../../docs/rules-coverage.md"

// TestCoveragePageShowsWhatIsCompiled: each construct of netdev chains is loaded by nft, which proves that it is one, and
// planned for a device with native XDP and for one without; UPDATE_DOCS=1 writes what comes out.
func TestCoveragePageShowsWhatIsCompiled(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	all := constructs()
	var text strings.Builder
	for i, c := range all {
		fmt.Fprintf(&text, "table netdev t%d {\n%s\tchain other { ip ttl 1 drop; }\n", i, objects())
		fmt.Fprintf(&text, "\tchain c { type filter hook ingress device \"eth0\" priority 0; %s; }\n}\n", c.rule)
	}
	rs, err := nft.Read(t.Context(), "-", bytes.NewReader([]byte(text.String())))
	if err != nil {
		t.Fatal(err)
	}
	want := coverage(t, all, rs)
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(coverageDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(coverageDoc); err != nil || string(have) != want {
		t.Errorf("%s is not what the planner does (%v); UPDATE_DOCS=1 go test ./internal/plan -run CoveragePage writes it", coverageDoc, err)
	}
}

// objects are what rules of the page name.
func objects() string {
	return `	set ports { type inet_service; elements = { 22, 80 }; }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1 }; }
	set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80 }; }
	set waits { type ipv4_addr; flags timeout; timeout 1h; }
	set seen { type ipv4_addr; flags dynamic; size 100; }
	map verdicts { type inet_service : verdict; elements = { 22 : accept, 23 : drop }; }
	map jumps { type inet_service : verdict; elements = { 22 : jump other }; }
	map fixed { type inet_service : verdict; flags constant; elements = { 22 : jump other }; }
	map ways { type ipv4_addr : iface_index; elements = { 10.0.0.1 : "eth1" }; }
	counter total { }
	quota much { over 1 mbytes }
	limit some { rate 10/second }
`
}

// coverage is the page.
func coverage(t *testing.T, all []construct, rs *ruleset.Ruleset) string {
	t.Helper()
	stateless := map[string]int{}
	var table strings.Builder
	group := ""
	for i, c := range all {
		if c.group != group {
			group = c.group
			fmt.Fprintf(&table, "\n## %s\n\n| construct | at XDP | at tc |\n|---|---|---|\n", group)
		}
		xdp, tc := compiled(t, rs, i, "ixgbe"), compiled(t, rs, i, "r8169")
		if !c.stateful {
			stateless["all"]++
			stateless[xdp]++
			stateless[tc+" at tc"]++
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", strings.ReplaceAll(c.rule, "|", "\\|"), xdp, tc)
	}
	const yes = "compiled"
	share := fmt.Sprintf("Of %d stateless constructs of netdev chains, %d run early at tc and %d at XDP", stateless["all"], stateless[yes+" at tc"], stateless[yes])
	if readme, err := os.ReadFile("../../README.md"); err != nil || !strings.Contains(string(readme), share) {
		t.Errorf("README.md does not say: %s (%v)", share, err)
	}
	return fmt.Sprintf(`# Which rules are compiled

<!-- Written by UPDATE_DOCS=1 go test ./internal/plan -run CoveragePage. -->

What a netdev ingress chain may have, as nft 1.0.6 accepts it, and what becomes of it in a generated program: *compiled*,
or left to nftables for the reason given (docs/reasons.md). Each rule below is loaded by nft and planned by a test, in a
chain of its own, with the daemon's options: the elements of named sets may become others at any time.

Stateless constructs ask nothing but the packet and the device that it came in by, and do nothing but decide, count and
send it on. Of %d of these, %d are compiled at tc (%d %%) and %d at XDP (%d %%): what GRO changes before nftables sees a
packet is not compiled at XDP, because the rule there would see other packets.
%s`, stateless["all"], stateless[yes+" at tc"], 100*stateless[yes+" at tc"]/stateless["all"],
		stateless[yes], 100*stateless[yes]/stateless["all"], table.String())
}

// compiled is what becomes of the rule of a table on a device of a profile.
func compiled(t *testing.T, rs *ruleset.Ruleset, i int, profile string) string {
	t.Helper()
	p, ok := caps.Lookup(profile)
	if !ok {
		t.Fatalf("no profile %s", profile)
	}
	one := &ruleset.Ruleset{Meta: rs.Meta, Tables: []*ruleset.Table{rs.Table(ruleset.Netdev, fmt.Sprint("t", i))}}
	pl := plan.Make(one, caps.Assume(p, "eth0", "eth1"), plan.Options{SetsChange: true, NoHardware: true})
	for _, c := range pl.Chains {
		if c.Name != "c" {
			continue
		}
		if len(c.Rules) != 1 || len(c.Rules[0].At) != 1 {
			t.Fatalf("table %d: %d rules", i, len(c.Rules))
		}
		at := c.Rules[0].At[0]
		if at.Tier == plan.Software && at.Finding.Reason != reason.None {
			return "[" + at.Finding.Reason.Code() + "](reasons.md)"
		}
		return "compiled"
	}
	t.Fatalf("table %d has no chain", i)
	return ""
}
