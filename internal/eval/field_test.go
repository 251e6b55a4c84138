package eval

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Package plan reads its fields from package ruleset: two tables, made apart, that say the same.
func TestFieldsAreThoseOfPackageRuleset(t *testing.T) {
	for _, proto := range []string{
		"ether", "vlan", "arp", "ip", "ip6", "tcp", "udp", "udplite", "sctp", "dccp", "th", "ah", "esp", "comp", "icmp", "icmpv6", "igmp",
	} {
		fs := fields(proto)
		if len(fs) == 0 {
			t.Errorf("%s has no fields", proto)
		}
		for name, f := range fs {
			want, ok := ruleset.PayloadField(proto, name)
			if !ok || want.Base != f.base || want.Offset != f.offset || want.Bits != f.typ.bits {
				t.Errorf("%s %s: %+v here, %+v there", proto, name, f, want)
			}
		}
	}
}
