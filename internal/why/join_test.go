package why_test

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/why"
)

func pattern(t *testing.T, s string) why.Pattern {
	t.Helper()
	p, err := why.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestJoinKeepsZonesApart: the datapath's entry of a tuple is not that of a connection in a zone.
func TestJoinKeepsZonesApart(t *testing.T) {
	plain, zoned := tracked(nil), tracked(func(c *why.Connection) { c.Zone = 5 })
	look := why.Snapshot{Connections: []why.Connection{zoned, plain}, Entries: entries(plain, 7, nil)}
	for _, f := range why.Join(why.Pattern{}, look, look) {
		if has := f.Dirs[0].Entry != nil && f.Dirs[1].Entry != nil; has != (f.Conn.Zone == 0) {
			t.Errorf("connection of zone %d has the entries: %v", f.Conn.Zone, has)
		}
	}
}

// TestJoinFindsTheRefusalOfAnAnswer, which comes to an address that the pattern does not name.
func TestJoinFindsTheRefusalOfAnAnswer(t *testing.T) {
	c := tracked(nil)
	refused := refusal(c, "altered", "altered", "", false)
	refused[0].Src, refused[0].Dst = c.Reply.Src, c.Reply.Dst
	look := why.Snapshot{Connections: []why.Connection{c}, Refused: refused}
	flows := why.Join(pattern(t, "10.0.1.2"), look, look)
	if len(flows) != 1 || flows[0].Dirs[1].Refused == nil || flows[0].Dirs[0].Refused != nil {
		t.Errorf("joined to %+v", flows)
	}
}

// TestJoinLeavesOutWhatEndedUnlessNothingElseMatches.
func TestJoinLeavesOutWhatEndedUnlessNothingElseMatches(t *testing.T) {
	ended, lives := tracked(nil), tracked(func(c *why.Connection) {
		c.Orig, c.Reply = tuple(6, "10.0.1.2:50000", "198.51.100.2:443"), tuple(6, "198.51.100.2:443", "10.0.1.2:50000")
	})
	refused := refusal(ended, "tcp-state", "", "", true)
	for ago, want := range map[time.Duration][2]int{time.Second: {1, 2}, 30 * time.Second: {1, 1}, 2 * time.Minute: {0, 1}} {
		refused[0].Ago = engine.Seconds(ago)
		alone, both := why.Snapshot{Refused: refused}, why.Snapshot{Refused: refused, Connections: []why.Connection{lives}}
		p := pattern(t, "10.0.1.2")
		if n := [2]int{len(why.Join(p, alone, alone)), len(why.Join(p, both, both))}; n != want {
			t.Errorf("seen %v ago: %d flows alone and %d beside another, want %v", ago, n[0], n[1], want)
		}
		if n := len(why.Join(pattern(t, "10.9.9.9"), alone, alone)); n != 0 {
			t.Errorf("seen %v ago: %d flows of another address", ago, n)
		}
	}
}

// TestBusiestFlowsComeFirst, by what the datapath carried, then by what conntrack counted.
func TestBusiestFlowsComeFirst(t *testing.T) {
	idle, slow := tracked(nil), tracked(func(c *why.Connection) {
		c.Orig, c.Reply = tuple(17, "10.0.1.3:1", "198.51.100.2:53"), tuple(17, "198.51.100.2:53", "10.0.1.3:1")
	})
	busy := tracked(func(c *why.Connection) {
		c.Orig, c.Reply = tuple(6, "10.0.1.4:1", "198.51.100.2:443"), tuple(6, "198.51.100.2:443", "10.0.1.4:1")
	})
	before := why.Snapshot{Connections: []why.Connection{idle, slow, busy}, Entries: entries(busy, 10, nil)}
	slow.Counts = [2]engine.Counter{{Packets: 9}, {Packets: 9}}
	after := why.Snapshot{Connections: []why.Connection{idle, slow, busy}, Entries: entries(busy, 500, nil)}
	var got []string
	for _, f := range why.Join(why.Pattern{}, before, after) {
		got = append(got, f.Tuple.Src.Addr().String())
	}
	if len(got) != 3 || got[0] != "10.0.1.4" || got[1] != "10.0.1.3" || got[2] != "10.0.1.2" {
		t.Errorf("order %v", got)
	}
}
