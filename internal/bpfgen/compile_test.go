package bpfgen

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

func at(base space.Base, off, n int) share.Field {
	f := space.Field{Base: base, Off: off, Len: n}
	return share.Field{At: f, Mask: ones(n)}
}

func whole(f space.Field) share.Field { return share.Field{At: f, Mask: ones(f.Len)} }

func is(f share.Field, n uint64) share.Cond {
	return share.Cond{Fields: []share.Field{f}, Keys: []share.Key{{space.Interval{First: space.Number(n), Last: space.Number(n)}}}}
}

func between(f share.Field, n, m uint64) share.Cond {
	return share.Cond{Fields: []share.Field{f}, Keys: []share.Key{{space.Interval{First: space.Number(n), Last: space.Number(m)}}}}
}

func not(c share.Cond) share.Cond {
	c.Not = true
	return c
}

func udp80(sport, dport uint16) []byte {
	return append([]byte{
		2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2, 8, 0,
		0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		byte(sport >> 8), byte(sport), byte(dport >> 8), byte(dport), 0, 12, 0, 0,
	}, 1, 2, 3, 4)
}

func TestOneRuleDropsAndCounts(t *testing.T) {
	for _, hook := range []share.Hook{share.XDP, share.TC} {
		t.Run(hook.String(), func(t *testing.T) {
			s := share.Share{Hook: hook, Entries: []share.Entry{
				{Counter: true, Ending: share.GoesOn, To: 1},
				{Conds: []share.Cond{
					is(whole(space.L3Proto()), 0x800), is(at(space.Network, 96, 32), 0x0a000001),
					is(whole(space.L4Proto()), 17), is(at(space.Transport, 16, 16), 80),
				}, Counter: true, Ending: share.Drops},
			}}
			l := install(t, s, Options{})
			drop, pass := int32(1), int32(2)
			if hook == share.TC {
				drop, pass = 2, -1
			}
			if got := l.run(udp80(1, 80)); got != drop {
				t.Errorf("udp to 80: %d, want %d", got, drop)
			}
			if got := l.run(udp80(1, 81)); got != pass {
				t.Errorf("udp to 81: %d, want %d", got, pass)
			}
			want := Count{1, 32}
			if got := l.counts(); len(got) != 2 || got[0] != want || got[1] != want {
				t.Errorf("counters: %v", got)
			}
			if got := l.totals(); got != (Totals{Dropped: 1, Ended: 1}) {
				t.Errorf("totals: %+v", got)
			}
			l.lease(0)
			if got := l.run(udp80(1, 80)); got != pass {
				t.Errorf("without lease: %d, want %d", got, pass)
			}
			t.Logf("%d instructions, %d verified", l.p.Instructions, l.verified)
		})
	}
}
