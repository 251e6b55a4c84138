package engine

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// The key is made at every reading of the machine.
func BenchmarkKeyOfTenThousandRules(b *testing.B) {
	e := &Early{Share: &share.Share{}}
	port := share.Cond{Fields: make([]share.Field, 1), Keys: []share.Key{make([]space.Interval, 1)}}
	for i := range 10000 {
		e.Share.Entries = append(e.Share.Entries, share.Entry{
			Rule: share.Ref{Family: "netdev", Table: "t", Chain: "c", Handle: i}, Counter: true, Ending: share.Drops,
			Conds: []share.Cond{port, port, port},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		e.key("r0")
	}
}
