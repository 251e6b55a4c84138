package bpfgen

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// What becomes of the named packets, by hand: those that the rule drops, and those of which nothing can be told. Others go
// to the end.
func TestNamedPacketsMeetRules(t *testing.T) {
	tooFar := []string{"8 extension headers", "a long extension header", "an extension header behind the packet"}
	unseen := []string{"tag, then 1 byte"}
	tests := []struct {
		rule    string
		conds   []share.Cond
		dropped []string
		left    []string
	}{
		{
			"tcp dport 80",
			[]share.Cond{is(whole(space.L4Proto()), 6), is(at(space.Transport, 16, 16), 80)},
			[]string{
				"tcp", "tcp, IPv4 options", "tcp, all room for options used", "tcp, 13 bytes", "802.1Q", "802.1Q, VLAN 0",
				"tcp over IPv6", "hop by hop", "7 extension headers",
			},
			append([]string{"last fragment, 3 bytes"}, tooFar...),
		},
		{
			"udp dport != 53",
			[]share.Cond{is(whole(space.L4Proto()), 17), not(is(at(space.Transport, 16, 16), 53))},
			nil,
			append([]string{"later fragment", "IPv6, later fragment"}, tooFar...),
		},
		{
			"vlan id 7",
			[]share.Cond{is(at(space.Link, 96, 16), 0x8100), is(at(space.Link, 116, 12), 7)},
			[]string{"two 802.1Q tags", "tag, then 2 bytes"},
			nil,
		},
		{
			"vlan type vlan vlan id 10, behind another tag",
			[]share.Cond{is(at(space.Link, 128, 16), 0x8100), is(at(space.Link, 148, 12), 10)},
			[]string{"QinQ", "two 802.1Q tags"},
			nil,
		},
		{
			"meta protocol 802.2",
			[]share.Cond{is(whole(space.L3Proto()), 4)},
			[]string{"802.2", "a tag and 802.2"},
			nil,
		},
		{
			"meta protocol 802.3",
			[]share.Cond{is(whole(space.L3Proto()), 1)},
			[]string{"802.3 of Novell", "a tag and Novell"},
			nil,
		},
		{
			"arp daddr ip 10.0.1.2",
			[]share.Cond{is(whole(space.L3Proto()), 0x806), is(at(space.Network, 192, 32), 0x0a000102)},
			[]string{"arp"},
			nil,
		},
		{
			"ip saddr != 10.0.0.1",
			[]share.Cond{is(whole(space.L3Proto()), 0x800), not(is(at(space.Network, 96, 32), 0x0a000001))},
			nil, // those that end inside the address do not match either
			nil,
		},
		{
			"ah",
			[]share.Cond{is(whole(space.L4Proto()), 51)},
			[]string{"authentication header"},
			tooFar,
		},
		{
			"meta l4proto 59",
			[]share.Cond{is(whole(space.L4Proto()), 59)},
			[]string{"no next header", "IPv6, later fragment of nothing"},
			tooFar,
		},
	}
	for _, tt := range tests {
		for _, hook := range []share.Hook{share.XDP, share.TC} {
			t.Run(tt.rule+" at "+hook.String(), func(t *testing.T) {
				l := install(t, share.Share{Hook: hook, Entries: []share.Entry{{Conds: tt.conds, Ending: share.Drops}}}, Options{})
				for _, f := range frames() {
					if hook == share.TC && slices.Contains(unseen, f.name) {
						continue // the receive path frees it
					}
					before := l.totals()
					l.run(f.data)
					got, now := "goes to the end", l.totals()
					switch {
					case now.Dropped > before.Dropped:
						got = "is dropped"
					case now.Left > before.Left:
						got = "is left"
					}
					want := "goes to the end"
					switch {
					case slices.Contains(tt.dropped, f.name):
						want = "is dropped"
					case slices.Contains(tt.left, f.name), hook == share.XDP && slices.Contains(unseen, f.name),
						hook == share.XDP && arrive(hook, f.data).length && behindTag(&share.Share{Entries: []share.Entry{{Conds: tt.conds}}}):
						want = "is left"
					}
					if got != want {
						t.Errorf("%s %s, want: %s", f.name, got, want)
					}
				}
			})
		}
	}
}
