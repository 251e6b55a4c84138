package ruleset_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestFieldsAreWhereNftLoadsThem compares base, offset and length of every header field with the bytecode nft makes of
// a rule about it.
func TestFieldsAreWhereNftLoadsThem(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "f")
	ns.NFTables("table netdev n { chain c { type filter hook ingress device lo priority 0; }\n }\ntable inet i { chain c { }\n }\n")
	load := regexp.MustCompile(`(?:payload|exthdr) load (?:tcpopt |ipv4 |ipv6 )?(\d+)b @ (?:(link|network|transport) header|\d+) \+ (\d+)`)
	tried := 0
	for text, e := range described() {
		var f ruleset.Field
		var ok bool
		table := "inet i"
		switch e := e.(type) {
		case ruleset.Payload:
			f, ok = ruleset.PayloadField(e.Proto, e.Field)
			if f.Base == "ll" || e.Proto == "arp" {
				table = "netdev n"
			}
		case ruleset.Exthdr:
			f, ok = ruleset.HeaderField(e.Name, e.Field)
		case ruleset.Option:
			f, _, ok = ruleset.OptionField(e.Kind, e.Name, e.Field)
			ok = ok && e.Kind != "sctp chunk" // not printed by libnftnl 1.2
		default:
			continue
		}
		if !ok {
			continue
		}
		out, err := ns.Try("nft", "-c", "--debug=netlink", fmt.Sprintf("add rule %s c %s %s", table, text, sample(f)))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		tried++
		all := load.FindAllStringSubmatch(out, -1)
		if all == nil {
			t.Errorf("%s: nothing is loaded in\n%s", text, out)
			continue
		}
		m := all[len(all)-1]
		n, _ := strconv.Atoi(m[1])
		offset, _ := strconv.Atoi(m[3])
		base := map[string]string{"ll": "link", "nh": "network", "th": "transport"}[f.Base]
		if want := (f.Offset%8 + f.Bits + 7) / 8; n != want || offset != f.Offset/8 || m[2] != base {
			t.Errorf("%s: %s bit %d, %d bits; nft loads %q", text, f.Base, f.Offset, f.Bits, m[0])
		}
	}
	if tried < 80 {
		t.Errorf("only %d fields tried", tried)
	}
}

// sample is a constant of a field's type that fills it, so that nft loads all of it.
func sample(f ruleset.Field) string {
	switch f.Type {
	case "ipv4_addr":
		return "255.255.255.255"
	case "ipv6_addr":
		return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	case "ether_addr":
		return "ff:ff:ff:ff:ff:ff"
	}
	return "1"
}
