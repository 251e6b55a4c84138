package nft

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// setWatching watches all sets of a namespace.
func setWatching(t *testing.T, ns *testkit.NS, buffer int) *SetWatch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var w *SetWatch
	if err := ns.Do(func() (err error) {
		w, err = watchSets(ctx, buffer)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.Subscribe(func(element.SetID) bool { return true })
	return w
}

func nextCommit(t *testing.T, w *SetWatch) Commit {
	t.Helper()
	select {
	case c, ok := <-w.Commits():
		if !ok || c.Err != nil {
			t.Fatalf("the commits have ended: %v", c.Err)
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no commit")
	}
	return Commit{}
}

// told is a commit as text: tables, then the changes of each set.
func told(c Commit) string {
	var out []string
	for _, t := range c.Tables {
		out = append(out, fmt.Sprintf("%s %s:", t.Family, t.Name))
	}
	slices.Sort(out)
	for _, x := range c.Changes {
		var list []string
		for e := range x.Deleted.All() {
			list = append(list, "-"+pointText(e))
		}
		for e := range x.Added.All() {
			list = append(list, "+"+pointText(e))
		}
		slices.Sort(list)
		if x.Gone {
			list = append(list, "gone")
		}
		if x.Made {
			list = append(list, "made")
		}
		out = append(out, x.Set.Name+"{"+strings.Join(list, " ")+"}")
	}
	return strings.Join(out, " ")
}

func pointText(e element.Element) string {
	out := hex(e.First)
	if e.Last != nil {
		out += "-" + hex(e.Last)
	}
	if e.End {
		out += "end"
	}
	if e.Verdict != "" {
		out += ":" + string(e.Verdict)
	}
	if !e.Expires.IsZero() {
		out += "@"
	}
	return out
}

// What the kernel tells of elements, transaction by transaction.
func TestSetWatch_Commands_AreToldAs(t *testing.T) {
	ns := nsWith(t, "")
	w := setWatching(t, ns, setWatchBuffer)
	for _, step := range []struct{ do, want string }{
		{"add table netdev t", "netdev t:"},
		{"add set netdev t h { type inet_service; flags timeout; }", "netdev t: h{}"},
		{"add element netdev t h { 1, 2 }", "h{+0001 +0002}"},
		{"delete element netdev t h { 2 }", "h{-0002}"},
		{"delete element netdev t h { 1 }\nadd element netdev t h { 1 }", "h{+0001}"},
		{"add element netdev t h { 3 }\ndelete element netdev t h { 3 }", "h{-0003}"},
		{"create element netdev t h { 4 timeout 1h }", "h{+0004@}"},
		{"flush set netdev t h", "h{-0001 -0004@}"},
		// An interval is two elements, and nft ends one at 0.
		{"add set netdev t i { type inet_service; flags interval; auto-merge; }", "netdev t: i{}"},
		{"add element netdev t i { 16-31 }", "i{+0000end +0010 +0020end}"},
		{"add element netdev t i { 32-47 }", "i{+0010 +0030end -0020end}"},
		{"add element netdev t i { 64, 66 }", "i{+0040 +0041end +0042 +0043end}"},
		{"delete element netdev t i { 64 }", "i{-0040 -0041end}"},
		{"add element netdev t i { 65535 }", "i{+ffff}"},
		{"flush set netdev t i", "i{-0000end -0010 -0030end -0042 -0043end -ffff}"},
		// A concatenation is one element.
		{
			"add set netdev t c { type inet_service . inet_proto; flags interval; elements = { 1-2 . 6, 3 . 17 } }",
			"netdev t: c{+0001000006000000-0002000006000000 +0003000011000000-0003000011000000}",
		},
		{"delete element netdev t c { 1-2 . 6 }", "c{-0001000006000000-0002000006000000}"},
		{"add map netdev t v { type inet_service : verdict; elements = { 1 : drop } }", "netdev t: v{+0001:drop}"},
		{"add element netdev t v { * : accept }", "v{+:accept}"},
		// Anonymous sets are told of with their rule.
		{"add chain netdev t r", "netdev t:"},
		{"add rule netdev t r tcp dport { 7, 8 } drop", "netdev t: __set0{+0007 +0008}"},
		{"flush chain netdev t r", "netdev t: __set0{gone}"},
		{"add table ip u\nadd chain ip u c\nadd chain netdev t c2", "ip u: netdev t:"},
		{"delete set netdev t h", "netdev t: h{gone}"},
		{
			"flush ruleset\nadd table netdev t\nadd set netdev t i { type inet_service; elements = { 9 } }",
			"ip u: netdev t: i{+0009 made} c{gone} v{gone}",
		},
		// What is declared again keeps its elements.
		{"add element netdev t i { 8 }\nadd set netdev t i { type inet_service; elements = { 7 } }\nadd chain netdev t r", "netdev t: i{+0007 +0008}"},
		{"add table netdev t { flags dormant; }\nadd set netdev t i { type inet_service; elements = { 6 } }", "netdev t: i{+0006}"},
		{
			"add element netdev t i { 5 }\ndelete set netdev t i\nadd set netdev t i { type inet_service; elements = { 4 } }\n" +
				"add set netdev t i { type inet_service; elements = { 3 } }",
			"netdev t: i{+0003 +0004 made}",
		},
		{"add table netdev u\nadd set netdev u i { type inet_service; }\nadd set netdev t i { type inet_service; elements = { 2 } }\nadd chain netdev t n", "netdev t: netdev u: i{made} i{+0002}"},
		{"add table netdev t\nadd chain netdev t n2\nadd set netdev u i { type inet_service; elements = { 1 } }\nadd chain netdev u n", "netdev t: netdev u: i{+0001}"},
		{"delete table netdev u", "netdev u: i{gone}"},
		{
			"add table netdev t\ndelete table netdev t\nadd table netdev t { flags dormant; }\nadd table netdev t\n" +
				"add set netdev t i { type inet_service; }\nadd set netdev t j { type inet_service; }",
			"netdev t: i{made} j{made}",
		},
		{"delete set netdev t j\nadd set netdev t j { type inet_service; }\ndelete set netdev t j", "netdev t: j{gone}"},
		{"delete table netdev t", "netdev t: i{gone}"},
	} {
		if _, err := ns.Pipe(step.do+"\n", "nft", "-f", "-"); err != nil {
			t.Errorf("%s: %v", step.do, err)
			continue
		}
		if diff := cmp.Diff(step.want, told(nextCommit(t, w))); diff != "" {
			t.Errorf("%s:\n%s", step.do, diff)
		}
	}
}

func TestSetWatch_Subscribe_TellsOfTheseSetsAlone(t *testing.T) {
	ns := nsWith(t, "table ip t {\nset a {\ntype inet_service\n}\nset b {\ntype inet_service\n}\n}\n")
	w := setWatching(t, ns, setWatchBuffer)
	w.Subscribe(func(s element.SetID) bool { return s == element.SetID{Family: "ip", Table: "t", Name: "b"} })
	ns.NFTables("add element ip t a { 1 }\nadd element ip t b { 2 }\n")
	if got, want := told(nextCommit(t, w)), "b{+0002}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.Subscribe(nil)
	ns.NFTables("add element ip t b { 3 }\n")
	if got := told(nextCommit(t, w)); got != "" {
		t.Errorf("nobody wants %s", got)
	}
}

// The kernel tells nothing when an element expires, and what is left of its time when it is told of.
func TestSetWatch_ExpiredElement_IsNotToldOf(t *testing.T) {
	ns := nsWith(t, "table ip t {\nset s {\ntype inet_service\nflags timeout\n}\n}\n")
	w := setWatching(t, ns, setWatchBuffer)
	ns.NFTables("add element ip t s { 1 timeout 50ms, 2 timeout 1h }\n")
	for e := range nextCommit(t, w).Changes[0].Added.All() {
		left, most := time.Until(e.Expires), time.Hour
		if e.First[1] == 1 {
			most = 50 * time.Millisecond
		}
		if left > most || left < most-10*time.Second {
			t.Errorf("%x expires in %v, not %v", e.First, left, most)
		}
	}
	testkit.MustAwait(t, 10*time.Second, func() error {
		if n := read(t, ns, element.SetID{Family: "ip", Table: "t", Name: "s"}).Len(); n != 1 {
			return fmt.Errorf("%d elements", n)
		}
		return nil
	})
	ns.NFTables("add table ip after\n")
	if got, want := told(nextCommit(t, w)), "ip after:"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSetWatch_HundredThousandElementsAtOnce_AreNotLost(t *testing.T) {
	ns := nsWith(t, "table ip t {\nset s {\ntype ipv4_addr\n}\n}\n")
	w := setWatching(t, ns, setWatchBuffer)
	var b strings.Builder
	const many = 100_000
	b.WriteString("add element ip t s {\n")
	for i := range many {
		fmt.Fprintf(&b, "10.%d.%d.%d,\n", i>>16, i>>8&255, i&255)
	}
	b.WriteString("}\n")
	ns.NFTables(b.String()) // nobody reads meanwhile
	c := nextCommit(t, w)
	if c.Lost || len(c.Changes) != 1 || c.Changes[0].Added.Len() != many {
		t.Fatalf("lost: %v, %d changes", c.Lost, len(c.Changes))
	}
}

func TestSetWatch_SetsThatWereMade_AreRememberedUntilTheyChange(t *testing.T) {
	ns := nsWith(t, "")
	w := setWatching(t, ns, setWatchBuffer)
	w.Subscribe(nil)
	w.Remember(func(s element.SetID) bool { return s.Family == "netdev" })
	ns.NFTables(`table netdev t {
		set ports { type inet_service; flags interval; elements = { 5-9, 20, 1024-65535 } }
		set hosts { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
		set pairs { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 5-9 } }
		map none { type inet_service : verdict; }
	}
	table ip u {
		set ports { type inet_service; elements = { 1 } }
	}
`)
	c := nextCommit(t, w)
	if got := told(c); got != "ip u: netdev t:" {
		t.Errorf("nobody subscribed, but told of %s", got)
	}
	parts := map[string][]share.Part{"ports": {{Bits: 16}}, "hosts": {{Bits: 32}}, "pairs": {{Bits: 32}, {Bits: 16}}, "none": {{Bits: 16}}}
	if len(w.made) != len(parts) {
		t.Errorf("%d sets are remembered, not %d", len(w.made), len(parts))
	}
	same := func(name string, remembered bool) {
		t.Helper()
		set := element.SetID{Family: "netdev", Table: "t", Name: name}
		if (w.made[set] != nil) != remembered {
			t.Errorf("%s is remembered: %v", name, !remembered)
		}
		var l *element.List
		if err := ns.Do(func() (err error) {
			l, err = w.Elements(t.Context(), set)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(spans(t, parts[name], read(t, ns, set)), spans(t, parts[name], l)); diff != "" {
			t.Errorf("%s: kernel -, remembered +:\n%s", name, diff)
		}
		if remembered && l.Generation.Before(c.Generation) {
			t.Errorf("%s: generation %d is before %d", name, l.Generation, c.Generation)
		}
	}
	for name := range parts {
		same(name, true)
		same(name, false)
	}
	ns.NFTables("flush ruleset\ntable netdev t {\nset ports {\ntype inet_service\nelements = { 1 }\n}\n}\n")
	c = nextCommit(t, w)
	w.Subscribe(func(element.SetID) bool { return false })
	w.Subscribe(func(s element.SetID) bool { return s.Name == "ports" })
	same("ports", true)
	ns.NFTables("flush ruleset\ntable netdev t {\nset ports {\ntype inet_service\nelements = { 1 }\n}\n}\n")
	c = nextCommit(t, w)
	w.Subscribe(nil)
	w.Subscribe(nil)
	same("ports", false)
	ns.NFTables("flush ruleset\ntable netdev t {\nset ports {\ntype inet_service\nelements = { 2 }\n}\n}\n")
	nextCommit(t, w)
	ns.NFTables("add element netdev t ports { 3 }\n")
	nextCommit(t, w)
	same("ports", false)

	ns.NFTables("table netdev t {\nset ports {\ntype inet_service\nelements = { 4 }\n}\n}\nadd chain netdev t again\n")
	nextCommit(t, w)
	same("ports", false)
	ns.NFTables("flush ruleset\ntable netdev t {\nset ports {\ntype inet_service\nelements = { 5 }\n}\n}\n")
	nextCommit(t, w)
	ns.NFTables("table netdev t {\nset ports {\ntype inet_service\nelements = { 6 }\n}\n}\n")
	nextCommit(t, w)
	same("ports", false)
	ns.NFTables("delete set netdev t ports\nadd set netdev t ports { type inet_service; elements = { 7 }; }\n" +
		"add set netdev t ports { type inet_service; elements = { 8 }; }\n")
	nextCommit(t, w)
	same("ports", true)
	ns.NFTables("add set netdev t hosts { type ipv4_addr; elements = { 192.0.2.1 }; }\n")
	nextCommit(t, w)
	same("hosts", false) // it may have been there
}

// Else a set of an old table would be taken for a new one.
func TestSetWatch_TablesMadeUnheard_AreNotNew(t *testing.T) {
	ns := nsWith(t, "table netdev before {\nset s {\ntype inet_service\nelements = { 1 }\n}\n}\n")
	w := setWatching(t, ns, 0)
	redeclare := func(table string) string {
		ns.NFTables(fmt.Sprintf("add table netdev %s { flags dormant; }\nadd set netdev %[1]s s { type inet_service; elements = { 2 }; }\n", table))
		return told(nextCommit(t, w))
	}
	if got, want := redeclare("before"), "netdev before: s{+0002}"; got != want {
		t.Errorf("a table from before the watch: got %s, want %s", got, want)
	}
	busy := make(chan struct{})
	w.Subscribe(func(element.SetID) bool {
		<-busy
		return true
	})
	for i := range 20 { // the socket is not read
		ns.NFTables(fmt.Sprintf("table netdev t%d {\nset s {\ntype inet_service\nelements = { 1 }\n}\n}\n", i))
	}
	close(busy)
	for lost := false; !lost; {
		lost = nextCommit(t, w).Lost
	}
	if got, want := redeclare("t19"), "netdev t19: s{+0002}"; got != want {
		t.Errorf("a table whose making was lost: got %s, want %s", got, want)
	}
	if got, want := redeclare("after"), "netdev after: s{+0002 made}"; got != want {
		t.Errorf("a new table: got %s, want %s", got, want)
	}
	if got, want := redeclare("t18"), "netdev t18: s{+0002}"; got != want {
		t.Errorf("another one whose making was lost: got %s, want %s", got, want)
	}
}

func TestSetWatch_FullBuffer_ReportsLossAndGoesOn(t *testing.T) {
	ns := nsWith(t, "table ip t {\nset s {\ntype inet_service\n}\n}\n")
	w := setWatching(t, ns, 0) // the kernel's minimum
	busy := make(chan struct{})
	w.Subscribe(func(element.SetID) bool {
		<-busy
		return true
	})
	for i := range 20 { // the socket is not read
		ns.NFTables(fmt.Sprintf("add element ip t s { %d }\n", i))
	}
	close(busy)
	c := nextCommit(t, w)
	for !c.Lost {
		c = nextCommit(t, w)
	}
	ns.NFTables("add element ip t s { 1000 }\n")
	for told(c) != "s{+03e8}" {
		c = nextCommit(t, w)
	}
}

// Else what is left of an element's time would be counted from when somebody reads of it.
func TestSetWatch_NobodyReads_CommitsAreDecodedAllTheSame(t *testing.T) {
	ns := nsWith(t, "table ip t {\nset s {\ntype inet_service\nflags timeout\n}\n}\n")
	w := setWatching(t, ns, setWatchBuffer)
	const many = 5
	for i := range many {
		ns.NFTables(fmt.Sprintf("add element ip t s { %d timeout 1h }\n", i))
	}
	testkit.MustAwait(t, 10*time.Second, func() error {
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		if n := len(w.queue.waiting); n != many-1 { // one is being delivered
			return fmt.Errorf("%d commits wait", n)
		}
		return nil
	})
	decoded := time.Now()
	for i := range many {
		c := nextCommit(t, w)
		if got, want := told(c), fmt.Sprintf("s{+%04x@}", i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for e := range c.Changes[0].Added.All() {
			if e.Expires.After(decoded.Add(time.Hour)) {
				t.Errorf("element %d expires %v late", i, e.Expires.Sub(decoded)-time.Hour)
			}
		}
	}
}

func TestGathered_GapInGenerations_IsALoss(t *testing.T) {
	gen := func(n uint32) []byte {
		return notification(unix.NFT_MSG_NEWGEN, attribute(unix.NFTA_GEN_ID, binary.BigEndian.AppendUint32(nil, n)))
	}
	g := newGathered(func(element.SetID) bool { return true }, func() uint64 { return 0 })
	var got []string
	for _, n := range []uint32{7, 8, 10, 11, 1<<32 - 1, 1, 2} {
		for _, c := range g.datagram(gen(n), time.Unix(1, 0)) {
			got = append(got, fmt.Sprint(c.Generation, c.Lost))
		}
	}
	g.forget() // a loss that is known
	for _, c := range g.datagram(gen(20), time.Unix(1, 0)) {
		got = append(got, fmt.Sprint(c.Generation, c.Lost))
	}
	want := []string{"7 false", "8 false", "0 true", "11 false", "0 true", "1 false", "2 false", "20 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A set that NEWSET tells of is new if its table is, which has a higher handle than any before.
func TestGathered_HandlesOfTables_TellWhichAreNew(t *testing.T) {
	highest := uint64(5)
	g := newGathered(func(element.SetID) bool { return true }, func() uint64 { return highest })
	name := attribute(attrTable, []byte("t\x00"))
	set := notification(unix.NFT_MSG_NEWSET, name, attribute(attrSet, []byte("s\x00")))
	var generation uint32
	transaction := func(handles ...uint64) string {
		var b []byte
		for _, n := range handles {
			b = append(b, notification(unix.NFT_MSG_NEWTABLE, name, attribute(tableHandle, binary.BigEndian.AppendUint64(nil, n)))...)
		}
		generation++
		gen := notification(unix.NFT_MSG_NEWGEN, attribute(unix.NFTA_GEN_ID, binary.BigEndian.AppendUint32(nil, generation)))
		commits := g.datagram(slices.Concat(b, set, gen), time.Unix(1, 0))
		switch {
		case len(commits) != 1 || !commits[0].Lost && len(commits[0].Changes) != 1:
			t.Fatalf("commits: %+v", commits)
		case commits[0].Lost:
			return "lost"
		case commits[0].Changes[0].Made:
			return "made"
		}
		return "changed"
	}
	want := func(what, want string, handles ...uint64) {
		t.Helper()
		if got := transaction(handles...); got != want {
			t.Errorf("%s: %s, not %s", what, got, want)
		}
	}
	want("no table", "changed")
	want("a table without a handle", "changed", 0)
	want("a table that was there", "changed", 5)
	want("a new table", "made", 7)
	want("the same table", "changed", 7)
	want("a table from before it", "changed", 6)
	want("a new table, told of twice", "made", 8, 8)
	highest = 10
	g.forget()
	want("a table of which nothing was heard", "changed", 10)
	want("a new table", "made", 11)
	highest = 13
	generation++
	want("a gap", "lost", 12)
	want("a table of which nothing was heard", "changed", 13)
	want("a new table", "made", 14)
	highest = 0 // they were deleted
	g.forget()
	want("a table from before", "changed", 14)
	want("a new table", "made", 15)
	highest = math.MaxUint64 // it cannot be found out
	g.forget()
	want("any table", "changed", 1<<40)
}
