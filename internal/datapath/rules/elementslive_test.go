package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// follower follows sets of a namespace as the daemon does.
type follower struct {
	t     testing.TB
	ns    *testkit.NS
	watch *nft.SetWatch
	sets  map[string]*followed
	again int // sets that had to be read again
}

// followed is a set, its map, and what keeps it.
type followed struct {
	share.Set
	m *ebpf.Map
	*Contents
}

func newFollower(t testing.TB) *follower {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT, testkit.BPF)
	f := &follower{t: t, ns: testkit.NewNS(t, "elements"), sets: map[string]*followed{}}
	if err := f.ns.Do(func() (err error) {
		f.watch, err = nft.WatchSets(t.Context())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// keep makes a map for a set and keeps it from now on.
func (f *follower) keep(s share.Set, most int) *followed {
	f.t.Helper()
	s.Family, s.Table = ruleset.Netdev, "t"
	m := newSetMap(f.t, s, most)
	c, err := NewContents(s, m, func(err error) { f.t.Error(err) })
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	f.sets[s.Name] = &followed{s, m, c}
	kept := slices.Collect(maps.Keys(f.sets))
	f.watch.Subscribe(func(s element.SetID) bool { return slices.Contains(kept, s.Name) })
	return f.sets[s.Name]
}

// newSetMap makes the map that a program would have.
func newSetMap(t testing.TB, s share.Set, most int) *ebpf.Map {
	t.Helper()
	_ = rlimit.RemoveMemlock() // kernels before 5.11
	spec := &ebpf.MapSpec{
		Name: "nfo_test", Type: ebpf.Hash, KeySize: uint32(8 * element.Count(s.Parts)), ValueSize: 4,
		MaxEntries: uint32(most), Flags: unix.BPF_F_NO_PREALLOC,
	}
	if s.Ranges {
		var bits []int
		for _, p := range s.Parts {
			bits = append(bits, p.Bits)
		}
		room, err := tuple.NewSpace(bits, tuple.Widest(bits))
		if err != nil {
			t.Fatal(err)
		}
		spec.Type, spec.Flags, spec.KeySize = ebpf.Array, unix.BPF_F_MMAPABLE, 4
		spec.ValueSize, spec.MaxEntries = uint32(room.Layout().PageBytes()), uint32(room.Pages(most))
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func (f *follower) list(name string) *element.List {
	f.t.Helper()
	l := f.find(name)
	if l == nil {
		f.t.Fatalf("no set %s", name)
	}
	return l
}

// find is list, or nil where there is no set.
func (f *follower) find(name string) *element.List {
	f.t.Helper()
	var l *element.List
	err := f.ns.Do(func() (err error) {
		l, err = nft.Elements(f.t.Context(), element.SetID{Family: ruleset.Netdev, Table: "t", Name: name})
		return err
	})
	if err != nil && !errors.Is(err, nft.ErrNoSet) {
		f.t.Fatal(err)
	}
	return l
}

// commit loads a text and makes the changes.
func (f *follower) commit(text string) {
	f.t.Helper()
	f.ns.NFTables(text)
	f.take(text)
}

// take makes the changes of the next transaction.
func (f *follower) take(text string) {
	f.t.Helper()
	var c nft.Commit
	select {
	case c = <-f.watch.Commits():
	case <-time.After(60 * time.Second):
		f.t.Fatalf("%s: no commit", text)
	}
	if c.Err != nil || c.Lost {
		f.t.Fatalf("%s: lost: %v, %v", text, c.Lost, c.Err)
	}
	for _, x := range c.Changes {
		s := f.sets[x.Set.Name]
		err := s.Apply(x)
		if errors.Is(err, ErrReread) {
			f.again++
			err = s.Replace(f.list(x.Set.Name))
		}
		if err != nil {
			f.t.Fatalf("%s: %v", text, err)
		}
	}
}

// inMap is what is in the map of a set.
func (s *followed) inMap(t testing.TB) []string {
	t.Helper()
	var out []string
	switch x := s.store.(type) {
	case *treeStore:
		for e := range x.in.table.Tree().All() {
			out = append(out, fmt.Sprintf("%x-%x:%d", e.First, e.Last, e.Data))
		}
	case *tupleStore:
		for _, e := range x.have {
			for _, key := range [][]uint64{e.first, e.last} {
				if data, ok := x.in.table.Lookup(key); !ok || data != e.data {
					t.Errorf("set %s: %x has %d, %v in the map", s.Name, key, data, ok)
				}
			}
			out = append(out, fmt.Sprintf("%x-%x:%d", e.first, e.last, e.data))
		}
	default:
		it, key, value := s.m.Iterate(), make([]byte, s.m.KeySize()), uint32(0)
		for it.Next(key, &value) {
			var words []uint64
			for at := 0; at < len(key); at += 8 {
				words = append(words, binary.NativeEndian.Uint64(key[at:]))
			}
			out = append(out, fmt.Sprintf("%x-%x:%d", words, words, value))
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

// inKernel is what the kernel has in a set.
func (s *followed) inKernel(t testing.TB, l *element.List) []string {
	t.Helper()
	var out []string
	for e := range l.All() {
		x, err := s.entry(e, entry{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%x-%x:%d", x.first, x.last, x.data))
	}
	slices.Sort(out)
	return out
}

func parts(bits ...int) []share.Part {
	var out []share.Part
	for _, n := range bits {
		out = append(out, share.Part{Bits: n})
	}
	return out
}

// random makes keys of a set for nft.
type random struct {
	set  share.Set
	text string // the set's definition
	key  func(*rand.Rand) string
}

func randoms() []random {
	port := func(r *rand.Rand) string { return fmt.Sprint(r.IntN(40)) }
	ports := func(r *rand.Rand) string {
		a := r.IntN(60)
		return fmt.Sprintf("%d-%d", a, a+r.IntN(6))
	}
	top := func(r *rand.Rand) string {
		a := 65535 - r.IntN(60)
		return fmt.Sprintf("%d-%d", a, min(65535, a+r.IntN(20)))
	}
	prefix := func(r *rand.Rand, free int) string {
		return fmt.Sprintf("10.0.%d.%d/%d", r.IntN(4)&^(1<<max(0, free-8)-1), r.IntN(256)&^(1<<min(8, free)-1), 32-free)
	}
	net4 := func(r *rand.Rand) string { return prefix(r, r.IntN(10)) }
	netPort := func(r *rand.Rand) string { // no two overlap: the kernel lets some
		n := r.IntN(40)
		return fmt.Sprintf("%s . %d", prefix(r, n%10), n)
	}
	host4 := func(r *rand.Rand) string { return fmt.Sprintf("10.0.0.%d", r.IntN(40)) }
	join := func(fs ...func(*rand.Rand) string) func(*rand.Rand) string {
		return func(r *rand.Rand) string {
			var out []string
			for _, f := range fs {
				out = append(out, f(r))
			}
			return strings.Join(out, " . ")
		}
	}
	verdict := func(f func(*rand.Rand) string) func(*rand.Rand) string {
		return func(r *rand.Rand) string { return f(r) + " : " + []string{"accept", "drop"}[r.IntN(2)] }
	}
	mark := func(r *rand.Rand) string { return fmt.Sprint(r.IntN(40) * 100000) }
	return []random{
		{share.Set{Name: "port", Parts: parts(16)}, "type inet_service", port},
		{share.Set{Name: "timed", Parts: parts(16)}, "type inet_service; flags timeout", port},
		{share.Set{Name: "marks", Parts: []share.Part{{Bits: 32, Host: true}}}, "type mark", mark},
		{share.Set{Name: "addr6", Parts: parts(128)}, "type ipv6_addr", func(r *rand.Rand) string { return fmt.Sprintf("2001:db8::%x", r.IntN(40)) }},
		{share.Set{Name: "pair", Parts: parts(32, 16)}, "type ipv4_addr . inet_service", join(host4, port)},
		{share.Set{Name: "vport", Parts: parts(16), Verdicts: true}, "type inet_service : verdict", verdict(port)},
		{share.Set{Name: "ports", Parts: parts(16), Ranges: true}, "type inet_service; flags interval", ports},
		{share.Set{Name: "merged", Parts: parts(16), Ranges: true}, "type inet_service; flags interval; auto-merge", ports},
		{share.Set{Name: "top", Parts: parts(16), Ranges: true}, "type inet_service; flags interval", top},
		{share.Set{Name: "timedtop", Parts: parts(16), Ranges: true}, "type inet_service; flags interval,timeout", top},
		{share.Set{Name: "nets", Parts: parts(32), Ranges: true}, "type ipv4_addr; flags interval", net4},
		{share.Set{Name: "timednets", Parts: parts(32), Ranges: true}, "type ipv4_addr; flags interval,timeout", net4},
		{
			share.Set{Name: "nets6", Parts: parts(128), Ranges: true},
			"type ipv6_addr; flags interval; auto-merge",
			func(r *rand.Rand) string { return fmt.Sprintf("2001:db8::%x/%d", r.IntN(16)<<4, 124-4*r.IntN(2)) },
		},
		{share.Set{Name: "vports", Parts: parts(16), Ranges: true, Verdicts: true}, "type inet_service : verdict; flags interval", verdict(ports)},
		{share.Set{Name: "tuples", Parts: parts(32, 16), Ranges: true}, "type ipv4_addr . inet_service; flags interval", netPort},
		{share.Set{Name: "timedtuples", Parts: parts(32, 16), Ranges: true}, "type ipv4_addr . inet_service; flags interval,timeout", netPort},
	}
}

// One transaction with several commands on all kinds of sets, again and again.
func TestContents_RandomTransactions_AreInTheMaps(t *testing.T) {
	const seed, transactions = 10, 300
	r := rand.New(rand.NewPCG(seed, 0))
	f := newFollower(t)
	all := randoms()
	define := "table netdev t {\n"
	for _, x := range all {
		f.keep(x.set, 4096)
		define += fmt.Sprintf("set %s {\n%s\n}\n", x.set.Name, strings.ReplaceAll(x.text, "; ", "\n"))
	}
	define = strings.ReplaceAll(define+"}\n", "set v", "map v")
	f.commit(define)
	done := 0
	for i := range transactions {
		var text strings.Builder
		for range 1 + r.IntN(2) {
			x := all[r.IntN(len(all))]
			fmt.Fprintln(&text, x.command(r))
		}
		if i%97 == 96 {
			text.Reset()
			fmt.Fprintf(&text, "flush ruleset\n%s", define)
		}
		if i%31 == 30 { // with what the sets have, and what they are given
			text.WriteString(define)
		}
		fmt.Fprintf(&text, "add chain netdev t n%d\n", i) // to flush an empty set alone is no transaction
		if _, err := f.ns.Pipe(text.String(), "nft", "-f", "-"); err != nil {
			continue // it would overlap, or delete what is not there
		}
		done++
		f.take(text.String())
		for _, x := range all {
			s := f.sets[x.set.Name]
			if diff := cmp.Diff(s.inKernel(t, f.list(x.set.Name)), s.inMap(t)); diff != "" {
				t.Fatalf("seed %d, transaction %d: %s\nset %s: kernel -, map +:\n%s", seed, i, text.String(), x.set.Name, diff)
			}
		}
	}
	t.Logf("%d transactions, sets read again %d times", done, f.again)
	if done < transactions/3 {
		t.Errorf("nft took only %d of %d transactions", done, transactions)
	}
}

// command is something nft may do to the set.
func (x random) command(r *rand.Rand) string {
	where := "netdev t " + x.set.Name
	timed := ""
	if strings.Contains(x.text, "timeout") && r.IntN(2) == 0 {
		timed = fmt.Sprintf(" timeout %dh", 1+r.IntN(9))
	}
	var keys []string
	for range 1 + r.IntN(4) {
		key, verdict, mapped := strings.Cut(x.key(r), " : ")
		if key += timed; mapped {
			key += " : " + verdict
		}
		keys = append(keys, key)
	}
	list := strings.Join(keys, ", ")
	switch n := r.IntN(20); {
	case n == 0:
		return "flush set " + where
	case n < 5:
		return "delete element " + where + " { " + strings.ReplaceAll(keys[0], timed, "") + " }"
	case n < 6:
		return "create element " + where + " { " + list + " }"
	case n < 8:
		return "add element " + where + " { " + keys[0] + " }\ndelete element " + where + " { " + strings.ReplaceAll(keys[0], timed, "") + " }"
	}
	return "add element " + where + " { " + list + " }"
}

// nft's transaction is told before nft returns, so an element is in the map about when the command is over.
func TestContents_OneOfManyElements_IsInTheMapAndOutAgain(t *testing.T) {
	const many = 20_000
	f := newFollower(t)
	hash := f.keep(share.Set{Name: "hash", Parts: parts(32)}, many+10)
	tree := f.keep(share.Set{Name: "tree", Parts: parts(32), Ranges: true}, many+10)
	var b strings.Builder
	b.WriteString("table netdev t {\nset hash {\ntype ipv4_addr\n}\nset tree {\ntype ipv4_addr\nflags interval\n}\n}\n")
	for name, n := range map[string]int{"hash": many, "tree": many / 20} { // nft reads all intervals before it adds one
		fmt.Fprintf(&b, "add element netdev t %s {\n", name)
		for i := range n {
			fmt.Fprintf(&b, "10.%d.%d.%d,\n", i>>14, i>>6&255, i<<2&255)
		}
		b.WriteString("}\n")
	}
	f.commit(b.String())
	var waits []time.Duration
	for i := range 20 {
		address := uint64(0xc0000200 + 4*i) // 192.0.2.0
		for _, verb := range []string{"add", "delete"} {
			text := ""
			for _, name := range []string{"hash", "tree"} {
				text += fmt.Sprintf("%s element netdev t %s { 192.0.2.%d }\n", verb, name, 4*i)
			}
			f.ns.NFTables(text)
			returned := time.Now()
			f.take(text)
			waits = append(waits, time.Since(returned))
			for _, s := range []*followed{hash, tree} {
				if _, there := s.store.find([]uint64{address}); there != (verb == "add") {
					t.Fatalf("%s: in %s: %v", text, s.Name, there)
				}
			}
		}
	}
	slices.Sort(waits)
	t.Logf("from nft's return to the maps: median %v, at most %v", waits[len(waits)/2], waits[len(waits)-1])
}

// declared is a set and three keys of it.
type declared struct {
	set        share.Set
	kind, text string
	keys       [3]string
}

// command is nft's text of a verb and, for some, the number of a key.
func (d declared) command(what string) string {
	verb, number, keyed := strings.Cut(what, " ")
	name, key := "netdev t "+d.set.Name, ""
	if keyed {
		key = d.keys[number[0]-'0']
	}
	switch {
	case verb == "declare" && keyed:
		return fmt.Sprintf("add %s %s { %s; elements = { %s }; }\n", d.kind, name, d.text, key)
	case verb == "declare":
		return fmt.Sprintf("add %s %s { %s; }\n", d.kind, name, d.text)
	case keyed:
		return fmt.Sprintf("%s element %s { %s }\n", verb, name, key)
	}
	return fmt.Sprintf("%s %s %s\n", verb, d.kind, name)
}

// From Linux 6.2 on the kernel tells of a set that is declared again as of one that is new, and not of the elements that
// it has. Here it is, among all else that makes sets.
func TestContents_SetsDeclaredAgain_HaveTheirElements(t *testing.T) {
	f := newFollower(t)
	all := []declared{
		{share.Set{Name: "hash", Parts: parts(16)}, "set", "type inet_service", [3]string{"1", "2", "3"}},
		{share.Set{Name: "tree", Parts: parts(16), Ranges: true}, "set", "type inet_service; flags interval", [3]string{"1-10", "20-30", "40"}},
		{
			share.Set{Name: "tuples", Parts: parts(32, 16), Ranges: true},
			"set", "type ipv4_addr . inet_service; flags interval",
			[3]string{"10.0.0.0/24 . 1", "10.0.1.0/24 . 2", "10.0.2.0/24 . 3"},
		},
		{share.Set{Name: "verdicts", Parts: parts(16), Verdicts: true}, "map", "type inet_service : verdict", [3]string{"1 : accept", "2 : drop", "3 : drop"}},
	}
	for _, d := range all {
		f.keep(d.set, 100)
	}
	for i, step := range []struct {
		table string
		sets  string // what is done to each
		want  int    // elements in each
	}{
		{"add table netdev t", "declare 0", 1},
		{"", "declare", 1},
		{"", "declare 1", 2},
		{"", "add 2, declare", 3},
		{"", "declare, delete 0", 2},
		{"", "declare, add 0, declare", 3},
		{"", "flush, declare 1", 1},
		{"add table netdev t { flags dormant; }", "declare 2", 2},
		{"add table netdev t", "declare", 2},
		{"", "delete, declare 0, declare", 1},
		{"", "add 1, delete, declare 2, declare", 1},
		{"", "delete", 0},
		{"", "declare 0, add 1", 2}, // new, in a table that is not
		{"", "declare, add 2", 3},
		{"", "delete, declare, delete", 0},
		{"", "declare 1", 1},
		{"delete table netdev t\nadd table netdev t", "declare 0, declare 2", 2},
		{"add table netdev u\nadd table netdev t", "declare 1", 3},
		{"flush ruleset\nadd table netdev t", "declare, add 1, declare", 1},
		{"", "declare", 1},
	} {
		text := fmt.Sprintf("%s\nadd table ip n%d\n", step.table, i) // so that all are transactions
		for _, d := range all {
			for what := range strings.SplitSeq(step.sets, ", ") {
				text += d.command(what)
			}
		}
		f.commit(text)
		for _, d := range all {
			s := f.sets[d.set.Name]
			var kernel []string
			if l := f.find(d.set.Name); l != nil {
				kernel = s.inKernel(t, l)
			}
			if len(kernel) != step.want {
				t.Errorf("%q, %q: set %s of the kernel has %q", step.table, step.sets, d.set.Name, kernel)
			}
			if diff := cmp.Diff(kernel, s.inMap(t)); diff != "" {
				t.Errorf("%q, %q: set %s: kernel -, map +:\n%s", step.table, step.sets, d.set.Name, diff)
			}
		}
	}
}
