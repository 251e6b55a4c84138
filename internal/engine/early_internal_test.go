package engine

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// Programs are compared at every reading of the machine.
func BenchmarkKeyOfTenThousandRules(b *testing.B) {
	p := newPrograms()
	e := &Early{Share: &share.Share{}}
	port := share.Cond{Fields: make([]share.Field, 1), Keys: []share.Key{make([]space.Interval, 1)}}
	for i := range 10000 {
		e.Share.Entries = append(e.Share.Entries, share.Entry{
			Rule: share.Ref{Family: "netdev", Table: "t", Chain: "c", Handle: i}, Counter: true, Ending: share.Drops,
			Conds: []share.Cond{port, port, port},
		})
	}
	again := &Early{Share: &share.Share{Entries: slices.Clone(e.Share.Entries)}}
	for i := range again.Share.Entries {
		again.Share.Entries[i].Conds = slices.Clone(again.Share.Entries[i].Conds)
	}
	b.ReportAllocs()
	for b.Loop() {
		if p.key("r0", e) != p.key("r0", again) {
			b.Fatal("the same programs have two keys")
		}
	}
}
