package bpfgen

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestFortyTablesOfIntervalsInOneChunkLoad has rules whose lists are looked up each for itself: without their sizes the
// verifier gives up.
func TestFortyTablesOfIntervalsInOneChunkLoad(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s := share.Share{Hook: share.XDP}
	for i := range uint64(40) {
		c := share.Cond{Fields: []share.Field{at(space.Network, 96, 32), at(space.Transport, 16, 16)}, Not: true}
		for k := range uint64(20) {
			first := i<<16 + 1000*k
			c.Keys = append(c.Keys, share.Key{
				{First: space.Number(first), Last: space.Number(first + 77)}, {First: space.Number(80), Last: space.Number(80 + k%2)},
			})
		}
		s.Entries = append(s.Entries, share.Entry{Conds: []share.Cond{c, is(at(space.Network, 128, 32), i)}, Ending: share.Drops})
	}
	l := install(t, s, Options{})
	t.Logf("%d instructions, %d steps of the verifier", l.p.Instructions, l.verified)
	if got := l.run(udp80(1, 80)); got != 2 {
		t.Errorf("a packet that no rule is for: %d, want pass", got)
	}
}
