package oracle

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// TestEntryRemembersItsLastSlowPacket: why, how many, and how long ago; what is fast changes none of it.
func TestEntryRemembersItsLastSlowPacket(t *testing.T) {
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for _, x := range []struct {
			reason reason.Reason
			change func(*packet.Spec)
		}{
			{reason.EntryMAC, func(s *packet.Spec) { s.Src = packet.MAC{2, 0, 0, 0, 1, 9} }},
			{reason.EntryDSCP, func(s *packet.Spec) { s.TOS = 0xb8 }},
			{reason.EntryTooLong, func(s *packet.Spec) { s.Payload = make([]byte, 1300) }},
			{reason.SlowTTL, func(s *packet.Spec) { s.TTL = 1 }},
			{reason.SlowIPChecksum, func(s *packet.Spec) { s.Wrong = packet.WrongIPChecksum }},
		} {
			t.Run(fmt.Sprintf("%s/%s", hook, x.reason), func(t *testing.T) {
				t.Parallel()
				b := newBoxWith(t, hook, "", datapath.Config{MaxFlows: 256})
				tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
				plain(b, tuples)
				before, other := b.entry(tuples[client]), b.entry(tuples[server])
				odd(x.change)(b, tuples)
				b.await("the packet to be missed", func() bool { return b.entry(tuples[client]).Missed > before.Missed })
				e := b.entry(tuples[client])
				if e.MissedWhy != x.reason || e.Missed != before.Missed+1 || e.MissedAgo > deadline {
					t.Errorf("%d missed, the last one for %s, %v ago; %d before", e.Missed, e.MissedWhy, e.MissedAgo, before.Missed)
				}
				if o := b.entry(tuples[server]); o.Missed != other.Missed {
					t.Errorf("the other direction has missed one, too: %+v", o)
				}
				plain(b, tuples)
				if f := b.entry(tuples[client]); f.MissedWhy != x.reason || f.Packets == e.Packets {
					t.Errorf("after fast packets: %+v", f)
				}
			})
		}
	}
}

// entry is that of a direction.
func (b *box) entry(tup packet.Tuple) datapath.Flow {
	b.t.Helper()
	flows, err := b.d.Flows()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range flows {
		if f.Tuple == tup {
			return f
		}
	}
	b.t.Fatalf("no entry of %s", tup)
	return datapath.Flow{}
}

// TestPacketsThatPassByLeaveSamples: those of which nobody asks whether their flow was handed over.
func TestPacketsThatPassByLeaveSamples(t *testing.T) {
	raw := "table inet m {\n chain p {\n type filter hook prerouting priority -300; policy accept\n %s\n }\n}\n"
	for _, x := range []struct {
		reason reason.Reason
		six    bool
		rules  string
		do     func(*box, [2]packet.Tuple)
		ports  bool
	}{
		{reason.SlowFragment, false, "", odd(func(s *packet.Spec) { s.MF = true }), false},
		{reason.SlowIPOptions, false, "", odd(func(s *packet.Spec) { s.Options = []byte{1, 1, 1, 0} }), false},
		{reason.SlowExtHeader, true, "", odd(func(s *packet.Spec) {
			s.Extensions = []packet.Extension{{Proto: 60, Body: []byte{1, 4, 0, 0, 0, 0}}}
		}), false},
		{reason.SeenUntracked, false, fmt.Sprintf(raw, "udp dport 2001 notrack\nudp sport 2001 notrack"), plain, true},
	} {
		t.Run(x.reason.String(), func(t *testing.T) {
			t.Parallel()
			b := newBoxWith(t, datapath.HookTC, x.rules, datapath.Config{MaxFlows: 256})
			tuples := b.connect(b.tuple(nats()[0], packet.UDP, x.six, 1))
			want := tuples[client]
			if !x.ports {
				want.Src, want.Dst, want.Proto = netip.AddrPortFrom(want.Src.Addr(), 0), netip.AddrPortFrom(want.Dst.Addr(), 0), 0
			}
			b.await("a sample", func() bool {
				x.do(b, tuples)
				passed, err := b.d.Passed()
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range passed {
					if p.Tuple == want && p.Reason == x.reason && p.Samples > 0 && int(p.In) == b.r.R0.Index {
						return true
					}
				}
				return false
			})
			refused, err := b.d.Refused()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range refused {
				if r.Reason == x.reason {
					t.Errorf("listed as a flow that was handed over: %+v", r)
				}
			}
		})
	}
}
