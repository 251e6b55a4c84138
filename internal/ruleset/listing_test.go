package ruleset_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// listings are what nft prints: of the rulesets in testdata/nft nft 1.0.6 ("nft -j list ruleset"), and newer.json, by
// the source of nft 1.1.4, what versions behind that print differently.
func listings(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no listings: %v", err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		doc, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = doc
	}
	return all
}

func TestListingsAreUnderstoodAndEncodedAgain(t *testing.T) {
	for name, doc := range listings(t) {
		r := decode(t, string(doc))
		if o := opaques(r); o != nil || r.Opaque != nil {
			t.Errorf("%s: not understood: %q %q", name, o, r.Opaque)
		}
		again := ruleset.Encode(r, ruleset.EncodeOptions{})
		if diff := cmp.Diff(r, decode(t, string(again))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !bytes.Equal(again, ruleset.Encode(r, ruleset.EncodeOptions{})) {
			t.Errorf("%s: encodes differently the second time", name)
		}
	}
}

// newerText is testdata/newer.json in nft's syntax.
const newerText = `table inet t {
	comment "new"
	flags owner,persist

	tunnel tun {
		id 5
		ip saddr 10.0.0.1
		ip daddr 10.0.0.2
		sport 0
		dport 4789
		tos 0
		ttl 64
		# vxlan <opaque: {"gbp":1}>
	}

	set s {
		typeof ip saddr . @th,16,16
		size 100
		flags timeout,dynamic
		timeout 1m
		counter
	}

	map m {
		type ipv4_addr : ipv4_addr . inet_service
		elements = { 10.0.0.1 counter packets 1 bytes 2 timeout 30s expires 5s comment "x" : 10.0.0.2 . 80 }
	}

	map i {
		typeof ip ttl . tcp dport : meta mark
	}

	flowtable f {
		hook ingress priority filter
		devices = { "eth0" }
	}

	flowtable g {
		hook ingress priority filter - 10
		devices = { "eth0", "wlan*" }
		flags offload
		counter
	}

	chain c {
		comment "a chain"
		type filter hook ingress devices = { "eth0", "eth1" } priority filter; policy accept;
	}

	chain r {
		tcp flags & (fin | syn | rst | ack) == syn accept
		vxlan ip saddr 10.0.0.0/8 vxlan vni 10
		update @m { ip saddr : ip daddr . tcp dport }
		fib saddr . iif check missing xt match "addrtype" last used 1s xt
		dnat ip to ip daddr map @m
		queue flags bypass,fanout to 1-3
		dccp option 3 exists tcp option @42,16,4 5 reset tcp option fastopen tunnel name "tun"
		ct original proto-dst 80 meta ibrhwaddr 02:00:00:00:00:01 meta broute set 1 socket cgroupv2 level 1 "user.slice"
		ct state established flow add @g add @s { ip saddr . tcp dport timeout 10s limit rate 10/second burst 5 packets } comment "fast"
	}
}
`

func TestNewerListingPrintsAsText(t *testing.T) {
	r := decode(t, string(listings(t)["newer.json"]))
	if diff := cmp.Diff(newerText, r.String()); diff != "" {
		t.Error(diff)
	}
}
