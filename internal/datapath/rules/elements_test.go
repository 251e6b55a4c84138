package rules

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// bare are contents that follow no ruleset.
func bare(t *testing.T, s share.Set, most int) *followed {
	t.Helper()
	testkit.Need(t, testkit.BPF)
	s.Name = "s"
	m := newSetMap(t, s, most)
	c, err := NewContents(s, m, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &followed{s, m, c}
}

func port(n int) []byte { return []byte{byte(n >> 8), byte(n)} }

// list is a list of single ports.
func list(ports ...int) *element.List {
	var l element.List
	for _, p := range ports {
		l.Add(element.Element{First: port(p)})
	}
	return &l
}

// intervals is a list of the intervals from each first port to the last one behind it.
func intervals(ports ...int) *element.List {
	var l element.List
	for i := 0; i < len(ports); i += 2 {
		l.Add(element.Element{First: port(ports[i]), Last: port(ports[i+1])})
	}
	return &l
}

func TestContents_Replace_LeavesWhatTheListHas(t *testing.T) {
	hash := bare(t, share.Set{Parts: parts(16)}, 100)
	tree := bare(t, share.Set{Parts: parts(16), Ranges: true}, 100)
	tuple := bare(t, share.Set{Parts: parts(16, 16), Ranges: true}, 100)
	pairs := func(l *element.List) *element.List {
		var out element.List
		for e := range l.All() {
			wide := func(b []byte) []byte { return append(append([]byte{0, 7, 0, 0}, b...), 0, 0) }
			out.Add(element.Element{First: wide(e.First), Last: wide(e.Last)})
		}
		return &out
	}
	for _, ports := range [][]int{{1, 3, 5, 9, 20, 30}, {1, 3, 6, 9, 20, 30}, {}, {2, 2, 20, 29}, {0, 65535}} {
		for s, l := range map[*followed]*element.List{hash: list(ports...), tree: intervals(ports...), tuple: pairs(intervals(ports...))} {
			if err := s.Replace(l); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(slices.Compact(s.inKernel(t, l)), s.inMap(t)); diff != "" {
				t.Errorf("%v: list -, map +:\n%s", ports, diff)
			}
		}
	}
}

func TestContents_MoreThanTheMapHolds_IsFitError(t *testing.T) {
	many := make([]int, 0, 16384)
	for i := range cap(many) {
		many = append(many, 4*i)
	}
	for name, s := range map[string]*followed{
		"hash": bare(t, share.Set{Parts: parts(16)}, 10), "tree": bare(t, share.Set{Parts: parts(16), Ranges: true}, 10),
	} {
		l := list(many...)
		_, full := errors.AsType[*element.FitError](s.Replace(l))
		if !full {
			t.Errorf("%s: Replace of %d elements is not full", name, l.Len())
		}
		if err := s.Replace(list(1)); err != nil {
			t.Errorf("%s: then one element: %v", name, err)
		}
	}
	s := bare(t, share.Set{Parts: parts(16)}, 10)
	if _, full := errors.AsType[*element.FitError](s.Apply(element.Change{Added: *list(many[:11]...)})); !full {
		t.Error("hash: Apply of 11 elements is not full")
	}
}

func TestContents_ElementsThatProgramsCannotHave_AreFitErrors(t *testing.T) {
	set := share.Set{Parts: parts(16)}
	verdicts := share.Set{Parts: parts(16), Verdicts: true}
	for name, x := range map[string]struct {
		set share.Set
		e   element.Element
	}{
		"*":             {set, element.Element{}},
		"a counter":     {set, element.Element{First: port(1), Stateful: true}},
		"another size":  {set, element.Element{First: []byte{1, 2, 3, 4, 5, 6}}},
		"too many bits": {share.Set{Parts: parts(12)}, element.Element{First: port(4096)}},
		"a jump":        {verdicts, element.Element{First: port(1), Verdict: "jump", Chain: "c"}},
	} {
		s := bare(t, x.set, 10)
		var l element.List
		l.Add(x.e)
		if _, ok := errors.AsType[*element.FitError](s.Replace(&l)); !ok {
			t.Errorf("%s fits", name)
		}
		if _, ok := errors.AsType[*element.FitError](s.Apply(element.Change{Added: l})); !ok {
			t.Errorf("%s fits when it is added", name)
		}
	}
}

// In network order alone intervals of bytes are intervals of numbers.
func TestNewContents_IntervalsInTheMachinesOrder_AreAFitError(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s := share.Set{Name: "s", Parts: []share.Part{{Bits: 32, Host: true}}, Ranges: true}
	_, err := NewContents(s, newSetMap(t, s, 10), func(error) {})
	if _, ok := errors.AsType[*element.FitError](err); !ok {
		t.Errorf("got %v", err)
	}
}

// The kernel lets a concatenation be added that has another one inside, which the tree cannot have.
func TestContents_ConcatenationsThatOverlap_AreAFitError(t *testing.T) {
	f := newFollower(t)
	s := f.keep(share.Set{Name: "s", Parts: parts(32, 16), Ranges: true}, 100)
	f.commit("table netdev t {\nset s {\ntype ipv4_addr . inet_service\nflags interval\nelements = { 10.0.1.0/24 . 80 }\n}\n}\n")
	f.ns.NFTables("add element netdev t s { 10.0.0.0/8 . 80 }\n")
	c := <-f.watch.Commits()
	if _, ok := errors.AsType[*element.FitError](s.Apply(c.Changes[0])); !ok {
		t.Error("it fits")
	}
}

// An interval that is added above all others has no end of its own; where some have expired, it could be one of theirs.
func TestContents_PointsThatDoNotTell_AreReadAgain(t *testing.T) {
	s := bare(t, share.Set{Parts: parts(16), Ranges: true}, 100)
	if err := s.Replace(intervals(10, 19, 30, 39)); err != nil {
		t.Fatal(err)
	}
	point := func(n int, end bool, expires time.Time) *element.List {
		var l element.List
		l.Add(element.Element{First: port(n), End: end, Expires: expires})
		return &l
	}
	for name, c := range map[string]element.Change{
		"a beginning inside another":           {Added: *point(15, false, time.Time{})},
		"a beginning below another":            {Added: *point(25, false, time.Time{})},
		"an end that goes":                     {Deleted: *point(20, true, time.Time{})},
		"a beginning that ends in time, alone": {Added: *point(50, false, time.Now().Add(time.Hour))},
	} {
		if s.Atomic(c) {
			t.Errorf("%s: packets may go on meanwhile", name)
		}
		if err := s.Apply(c); !errors.Is(err, ErrReread) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.loose = false
	if err := s.Apply(element.Change{Added: *point(50, false, time.Time{})}); err != nil {
		t.Errorf("a beginning above all: %v", err)
	}
	want := []string{"[a]-[13]:0", "[1e]-[27]:0", "[32]-[ffff]:0"}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), s.inMap(t)); diff != "" {
		t.Error(diff)
	}
}

// The kernel tells of the elements, and not that they are over. Some get more time before they are.
func TestContents_Timeouts_TakeElementsOut(t *testing.T) {
	f := newFollower(t)
	names := []string{"hash", "tree", "tuple"}
	f.keep(share.Set{Name: "hash", Parts: parts(16)}, 100)
	f.keep(share.Set{Name: "tree", Parts: parts(16), Ranges: true}, 100)
	f.keep(share.Set{Name: "tuple", Parts: parts(16, 16), Ranges: true}, 100)
	f.commit(`table netdev t {
		set hash { type inet_service; flags timeout; }
		set tree { type inet_service; flags interval, timeout; }
		set tuple { type inet_service . inet_service; flags interval, timeout; }
	}
`)
	f.commit(`add element netdev t hash { 1 timeout 300ms, 2 timeout 300ms, 3 timeout 1h, 4 }
add element netdev t tree { 1-5 timeout 300ms, 10-15 timeout 300ms, 20-25 timeout 1h, 30 }
add element netdev t tuple { 1-5 . 1 timeout 300ms, 1-5 . 2 timeout 300ms, 1-5 . 3 timeout 1h, 1 . 4 }
`)
	// Read from the kernel, these expire as well.
	for _, name := range names {
		if err := f.sets[name].Replace(f.list(name)); err != nil {
			t.Fatal(err)
		}
		if n := len(f.sets[name].lockedInMap(t)); n != 4 && n != 2 { // 2 on a machine that was away for 300 ms
			t.Errorf("%s: %d elements at first", name, n)
		}
	}
	for _, name := range names {
		s := f.sets[name]
		testkit.MustAwait(t, 10*time.Second, func() error {
			if n := len(s.lockedInMap(t)); n != 2 {
				return fmt.Errorf("%s: %d elements", name, n)
			}
			return nil
		})
		if diff := cmp.Diff(s.inKernel(t, f.list(name)), s.lockedInMap(t)); diff != "" {
			t.Errorf("%s: kernel -, map +:\n%s", name, diff)
		}
	}
}

// lockedInMap is inMap while a timer may change the map.
func (s *followed) lockedInMap(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inMap(t)
}

// pointsOf are the points that the kernel has of intervals of ports.
func pointsOf(ports map[int]int) map[string]element.Element {
	out := map[string]element.Element{}
	for first, last := range ports {
		out[fmt.Sprint("begin", first)] = element.Element{First: port(first)}
		if last < 65535 {
			out[fmt.Sprint("end", last+1)] = element.Element{First: port(last + 1), End: true}
		}
	}
	return out
}

// From any intervals to any others, by what the kernel would tell: looking at each interval, and at all of the set.
func TestContents_PointsOfRandomChanges_MakeTheIntervals(t *testing.T) {
	const seed = 2
	r := rand.New(rand.NewPCG(seed, 0))
	set := share.Set{Parts: parts(16), Ranges: true}
	few, many := bare(t, set, 1000), bare(t, set, 1000)
	have := map[string]element.Element{}
	for round := range 300 {
		next := map[int]int{}
		for at := 1 + r.IntN(300); at < 65536; at += 1 + r.IntN(10000) {
			next[at] = min(65535, at+r.IntN(3000)) // some touch
			at = next[at]
		}
		want := pointsOf(next)
		var c element.Change
		for k, e := range have {
			if _, ok := want[k]; !ok {
				c.Deleted.Add(e)
			}
		}
		for k, e := range want {
			if _, ok := have[k]; !ok {
				c.Added.Add(e)
			}
		}
		have = want
		var spans []int
		for _, first := range slices.Sorted(maps.Keys(next)) {
			spans = append(spans, first, next[first])
		}
		if err := few.applyPoints(c); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err := many.applyMany(c); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if diff := cmp.Diff(few.inKernel(t, intervals(spans...)), few.inMap(t)); diff != "" {
			t.Fatalf("seed %d, round %d: want -, got +:\n%s", seed, round, diff)
		}
		if diff := cmp.Diff(few.inMap(t), many.inMap(t)); diff != "" {
			t.Fatalf("seed %d, round %d: few -, many +:\n%s", seed, round, diff)
		}
	}
}

// Verdicts and times stay with the intervals that a change of many others leaves as they are.
func TestContents_ManyPoints_KeepVerdictsAndTimes(t *testing.T) {
	s := bare(t, share.Set{Parts: parts(16), Ranges: true, Verdicts: true}, 10000)
	later := time.Now().Add(time.Hour)
	var l element.List
	l.Add(element.Element{First: port(1), Last: port(9), Verdict: "drop", Expires: later})
	l.Add(element.Element{First: port(20), Last: port(29), Verdict: "accept"})
	if err := s.Replace(&l); err != nil {
		t.Fatal(err)
	}
	var c element.Change
	for i := range 2000 {
		c.Added.Add(element.Element{First: port(100 + 4*i), Verdict: "return"})
		c.Added.Add(element.Element{First: port(102 + 4*i), End: true})
	}
	c.Deleted.Add(element.Element{First: port(20)})
	c.Deleted.Add(element.Element{First: port(30), End: true})
	if !s.many(c) || s.Atomic(c) {
		t.Fatal("these are few")
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	if n := len(s.inMap(t)); n != 2001 {
		t.Errorf("%d intervals", n)
	}
	if e, ok := s.store.find([]uint64{5}); !ok || e.data != 2 || !e.expires.Equal(later) {
		t.Errorf("the first interval is now %v, %v", e, ok)
	}
}

// The map's memory is gone then: touching it would end the process.
func TestContents_AfterClose_DoNothing(t *testing.T) {
	for name, s := range map[string]share.Set{
		"hash": {Parts: parts(16)}, "tree": {Parts: parts(16), Ranges: true}, "tuple": {Parts: parts(16, 16), Ranges: true},
	} {
		c := bare(t, s, 100)
		c.Close()
		change := element.Change{Added: *list(1, 2), Deleted: *list(3)}
		if err := c.Replace(list(1, 2)); err != nil {
			t.Errorf("%s: Replace: %v", name, err)
		}
		if err := c.Apply(change); err != nil {
			t.Errorf("%s: Apply: %v", name, err)
		}
		if !c.Atomic(change) {
			t.Errorf("%s: a change that is not made is not atomic", name)
		}
	}
}
