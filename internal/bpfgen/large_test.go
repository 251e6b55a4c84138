package bpfgen

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// addressAndPort are n rules `ip saddr A tcp dport B counter drop`.
func addressAndPort(hook share.Hook, n int) share.Share {
	s := share.Share{Hook: hook}
	for i := range n {
		s.Entries = append(s.Entries, share.Entry{
			Rule: share.Ref{Number: i + 1},
			Conds: []share.Cond{
				is(whole(space.L3Proto()), 0x800), is(at(space.Network, 96, 32), 0x0b000000+uint64(i)),
				is(whole(space.L4Proto()), 6), is(at(space.Transport, 16, 16), uint64(i%60000)),
			},
			Counter: true, Ending: share.Drops,
		})
	}
	return s
}

// odd are n rules that are no two alike: which fields, masks and comparisons there are differs.
func odd(hook share.Hook, n int) share.Share {
	s := addressAndPort(hook, n)
	for i := range s.Entries {
		e := &s.Entries[i]
		switch i % 4 {
		case 0:
			e.Conds[1] = not(e.Conds[1])
		case 1:
			e.Ending = share.GoesOn
		case 2:
			e.Conds[3] = not(between(at(space.Transport, 0, 16), 0, uint64(i)))
		case 3:
			e.Conds[1] = not(is(at(space.Network, 128, 32), uint64(i)))
		}
		e.Conds = append(e.Conds, is(at(space.Network, 64, 8), uint64(i%255)))
	}
	return s
}

func TestThousandRulesOfOneShapeAreOneLookup(t *testing.T) {
	p, err := Compile(addressAndPort(share.XDP, 1000), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) != 1 || len(p.Steps[0].Rules) != 1000 {
		t.Errorf("steps: %d", len(p.Steps))
	}
	want := "meta protocol 0x800, meta l4proto 0x6: look up @nh,96,32 . @th,16,16 in a hash: the first of 1000 rules"
	if got := p.Steps[0].Text; got != want {
		t.Errorf("step %q, want %q", got, want)
	}
	const most = 700
	if p.Instructions > most || len(p.Chunks) != 1 {
		t.Errorf("%d instructions in %d chunks", p.Instructions, len(p.Chunks))
	}
	if len(p.Counters) != 1000 {
		t.Errorf("%d counters", len(p.Counters))
	}
}

// pairs are n rules `ip saddr PREFIX tcp dport RANGE drop`, in which prefixes are of some lengths.
func pairs(hook share.Hook, n int) share.Share {
	s := addressAndPort(hook, n)
	for i := range s.Entries {
		first := 0x0b000000 + uint64(i)<<8
		s.Entries[i].Conds[1] = between(at(space.Network, 96, 32), first, first+1<<(i%8)-1)
		s.Entries[i].Conds[3] = between(at(space.Transport, 16, 16), uint64(i%60000), uint64(i%60000+i%7))
	}
	return s
}

// many are rules of n shapes, five of each, with a lookup in an interval set between them.
func many(hook share.Hook, n int) share.Share {
	s := share.Share{Hook: hook, Sets: []share.Set{{Name: "s", Ranges: true, Parts: []share.Part{{Bits: 32}, {Bits: 16}}}}}
	for i := range n {
		f := at(space.Network, i%8*16, 16)
		f.Mask = space.Number(uint64(0xffff - i))
		for j := range 5 {
			s.Entries = append(s.Entries, share.Entry{
				Conds:  []share.Cond{between(f, uint64(j), uint64(i+j)), between(at(space.Network, 64, 8), uint64(j), uint64(i+j))},
				Ending: share.Drops,
			})
		}
		s.Entries = append(s.Entries, share.Entry{
			Conds: []share.Cond{{Fields: []share.Field{at(space.Network, 96, 32), at(space.Transport, 0, 16)}, Named: true}}, Ending: share.Drops,
		})
	}
	return s
}

// The verifier's limit is a million instructions a program; twice the length is what linear code costs.
func TestTenThousandRulesLoad(t *testing.T) {
	for _, hook := range []share.Hook{share.XDP, share.TC} {
		for name, s := range map[string]share.Share{
			"of one shape": addressAndPort(hook, 10000), "of no shape": odd(hook, 10000), "of intervals": pairs(hook, 10000),
			"of 20 shapes": many(hook, 20),
		} {
			t.Run(hook.String()+" "+name, func(t *testing.T) {
				l := install(t, s, Options{})
				t.Logf("%d chunks, %d instructions, at most %d verified for one", len(l.p.Chunks), l.p.Instructions, l.verified)
				const limit = 400_000 // a chunk
				if l.verified > limit {
					t.Errorf("the verifier looked at %d instructions of a chunk", l.verified)
				}
				l.check(&s, frames())
			})
		}
	}
}
