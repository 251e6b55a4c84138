package nft

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// compare reads the ruleset of a namespace and returns the text of its rules, those first that are marked.
func compare(t *testing.T, ns *testkit.NS, c *Comparison) (misread, same []string) {
	t.Helper()
	var rs *ruleset.Ruleset
	if err := ns.Do(func() (err error) {
		_, rs, err = ListWhole(t.Context(), c)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			for _, r := range chain.Rules {
				if r.Misread != "" {
					misread = append(misread, r.String())
				} else {
					same = append(same, r.String())
				}
			}
		}
	}
	return misread, same
}

func TestComparison_RulesThatNftListsAsOthers_AreMarked(t *testing.T) {
	for rule, marked := range map[string]bool{
		"ether type ip ip saddr 192.0.2.1 counter drop":          true, // of tagged frames, nothing is listed
		"meta l4proto icmp icmp type echo-request drop":          true, // nor of other versions of IP
		"ip saddr 192.0.2.1 counter drop":                        false,
		"icmp type echo-request drop":                            false,
		"ip6 saddr & ffff:: == 2001:: drop":                      true, // asks for all of the address, which a packet may not have
		"tcp dport { 22, 80-90 } counter drop":                   false,
		"ip saddr . tcp dport { 192.0.2.1 . 80 } drop":           false,
		"ip saddr @hosts tcp dport 1 drop":                       false,
		"ip protocol vmap { tcp : jump other, udp : goto more }": false,
		`iif "b0" fwd to "a0"`:                                   false,
		`iifname "a*" limit rate 5/second counter accept`:        false,
		"vlan id 5 ip saddr 192.0.2.1 drop":                      false,
	} {
		t.Run(rule, func(t *testing.T) {
			ns := nsWith(t, "")
			ns.Run("ip", "link", "add", "a0", "type", "veth", "peer", "b0")
			ns.NFTables("table netdev t {\nset hosts {\ntype ipv4_addr\nelements = { 192.0.2.7 }\n}\n" +
				"chain other {\n}\nchain more {\n}\nchain c {\ntype filter hook ingress device a0 priority 0\nip saddr 10.0.0.1 drop\n" + rule + "\ntcp dport 5 drop\n}\n}\n")
			var c Comparison
			for range 2 { // the second time, it knows
				misread, same := compare(t, ns, &c)
				if (len(misread) == 1) != marked || len(misread)+len(same) != 3 {
					t.Errorf("marked: %q, the same: %q", misread, same)
				}
			}
		})
	}
}

// Rules of other hooks are nobody's concern, and may have what a scratch namespace has not.
func TestComparison_RulesOfOtherHooks_AreLeftAlone(t *testing.T) {
	ns := nsWith(t, "table inet t {\nchain c {\ntype filter hook forward priority 0\nether type ip ip saddr 192.0.2.1 drop\n}\n}\n")
	if misread, _ := compare(t, ns, &Comparison{}); len(misread) > 0 {
		t.Errorf("marked: %q", misread)
	}
}

// A text file is loaded by nft to be read, and then it is known what of it is lost.
func TestRead_TextOfRulesThatNftListsAsOthers_AreMarked(t *testing.T) {
	text := "table netdev t {\nchain c {\ntype filter hook ingress device eth0 priority 0\nether type ip ip saddr 192.0.2.1 drop\n}\n}\n"
	rs, err := Read(t.Context(), "-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r := rs.Tables[0].Chains[0].Rules[0]
	if r.Misread == "" || !strings.Contains(r.String(), "192.0.2.1") {
		t.Errorf("not marked: %v", r)
	}
}
