package bpfgen

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// fields are what rules look at.
func fields() []share.Field {
	fs := []share.Field{
		whole(space.L3Proto()), whole(space.L4Proto()),
		whole(space.Field{Base: space.Beyond, Len: 32, Name: nameLength}),
		whole(space.Field{Base: space.Beyond, Len: 8, Name: namePktType}),
		at(space.Link, 0, 48), at(space.Link, 48, 48), at(space.Link, 96, 16), at(space.Link, 112, 3), at(space.Link, 116, 12),
		at(space.Link, 128, 16), at(space.Link, 148, 12), at(space.Link, 60, 72), at(space.Link, 90, 64),
		at(space.Network, 0, 4), at(space.Network, 4, 4), at(space.Network, 8, 6), at(space.Network, 16, 16), at(space.Network, 48, 16),
		at(space.Network, 64, 8), at(space.Network, 72, 8), at(space.Network, 96, 32), at(space.Network, 128, 32),
		at(space.Network, 12, 20), at(space.Network, 48, 8), at(space.Network, 64, 128), at(space.Network, 192, 128), at(space.Network, 3, 64),
		at(space.Network, 5, 128),
		at(space.Transport, 0, 16), at(space.Transport, 16, 16), at(space.Transport, 32, 32), at(space.Transport, 96, 4),
		at(space.Transport, 104, 8), at(space.Transport, 0, 8), at(space.Transport, 0, 64), at(space.Transport, 9, 70),
	}
	masked := at(space.Network, 96, 32)
	masked.Mask = space.Number(0xff00ff00)
	six := at(space.Network, 64, 128)
	six.Mask = space.Value{Hi: 0xffff000000000000, Lo: 0xff}
	short, shorter, tci := at(space.Network, 64, 128), at(space.Network, 64, 128), at(space.Link, 48, 48)
	short.Short, shorter.Short, tci.Short = 64, 16, 8
	return append(fs, masked, six, short, shorter, tci)
}

// maker makes shares that have something to do with the frames.
type maker struct {
	*rand.Rand
	frames []named
	hook   share.Hook
	fields []share.Field // some of fields()
	alike  int           // of 20 entries
}

func newMaker(seed, i uint64, hook share.Hook) *maker {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, i)), frames: frames(), hook: hook, fields: fields()}
	m.Shuffle(len(m.fields), func(i, j int) { m.fields[i], m.fields[j] = m.fields[j], m.fields[i] })
	m.fields = m.fields[:1+m.IntN(24)]
	m.alike = m.IntN(3) * 10
	return m
}

// value is one that a frame has in a field, mostly.
func (m *maker) value(f share.Field) space.Value {
	if m.IntN(8) > 0 {
		if fr := arrive(m.hook, m.frames[m.IntN(len(m.frames))].data); fr != nil {
			if v, st := fr.load(f); st == there {
				return v
			}
		}
	}
	return masked(space.Value{Hi: m.Uint64(), Lo: m.Uint64()}, f.Mask)
}

func (m *maker) interval(f share.Field, exact bool) space.Interval {
	v := m.value(f)
	if exact || m.IntN(2) == 0 {
		return space.Interval{First: v, Last: v}
	}
	w := m.value(f)
	if m.IntN(2) == 0 {
		return space.Interval{First: v.Floor(m.IntN(f.At.Len)), Last: v}
	}
	if v.Compare(w) > 0 {
		v, w = w, v
	}
	return space.Interval{First: v, Last: w}
}

func (m *maker) pick(n int) []share.Field {
	var fs []share.Field
	for range n {
		fs = append(fs, m.fields[m.IntN(len(m.fields))])
	}
	return fs
}

func (m *maker) cond(s *share.Share) share.Cond {
	c := share.Cond{Fields: m.pick(1), Not: m.IntN(4) == 0}
	n := 1
	if m.IntN(4) == 0 {
		c.Fields = m.pick(1 + m.IntN(3))
		n = 1 + m.IntN(6)
	}
	if m.IntN(12) == 0 {
		n = 10 + m.IntN(30)
	}
	exact := m.IntN(2) == 0
	for range n {
		c.Keys = append(c.Keys, m.key(c.Fields, exact))
	}
	if m.IntN(6) == 0 {
		c.Named, c.Set, c.Keys = true, m.set(s, c.Fields, false), nil
	}
	return c
}

func (m *maker) key(fs []share.Field, exact bool) share.Key {
	var k share.Key
	for _, f := range fs {
		k = append(k, m.interval(f, exact))
	}
	return k
}

// set adds a named set of keys of such fields.
func (m *maker) set(s *share.Share, fs []share.Field, verdicts bool) int {
	set := share.Set{Name: fmt.Sprintf("s%d", len(s.Sets)), Verdicts: verdicts, Size: 64}
	for _, f := range fs {
		set.Parts = append(set.Parts, share.Part{Bits: f.At.Len})
	}
	set.Ranges = m.IntN(3) == 0
	for _, f := range fs {
		set.Ranges = set.Ranges && f.Mask == ones(f.At.Len) // the plan has no others
	}
	for range m.IntN(8) {
		e := share.Elem{Key: m.key(fs, !set.Ranges)}
		if verdicts {
			e.Verdict = []ruleset.VerdictKind{ruleset.Accept, ruleset.Drop, ruleset.Return, ruleset.Continue}[m.IntN(4)]
		}
		if !slices.ContainsFunc(set.Elems, func(o share.Elem) bool { return overlap(o.Key, e.Key) }) {
			set.Elems = append(set.Elems, e)
		}
	}
	s.Sets = append(s.Sets, set)
	return len(s.Sets) - 1
}

func overlap(k, l share.Key) bool {
	for i := range k {
		if k[i].First.Compare(l[i].Last) > 0 || l[i].First.Compare(k[i].Last) > 0 {
			return false
		}
	}
	return true
}

func (m *maker) share(n int) share.Share {
	s := share.Share{Hook: m.hook}
	shapes := [][]share.Field{m.pick(1), m.pick(2), m.pick(3)}
	same := m.IntN(2) == 0
	for i := range n {
		e := share.Entry{Rule: share.Ref{Number: i + 1}, Counter: m.IntN(3) == 0}
		if m.alike > m.IntN(20) {
			m.likely(&e, shapes[m.IntN(3)], same, n)
			s.Entries = append(s.Entries, e)
			continue
		}
		for range m.IntN(4) {
			e.Conds = append(e.Conds, m.cond(&s))
		}
		ahead := func() int { return i + 1 + m.IntN(n-i) }
		switch m.IntN(8) {
		case 0, 1:
			e.Ending = share.GoesOn
		case 2, 3:
			e.Ending, e.To = share.Leaves, ahead()
		case 4:
			e.Ending, e.Device = share.Forwards, "lo"
		case 5:
			e.Ending, e.AcceptTo, e.ReturnTo = share.Maps, ahead(), ahead()
			e.Key = m.pick(1 + m.IntN(2))
			e.Map = m.set(&s, e.Key, true)
		default:
			e.Ending = share.Drops
		}
		if len(e.Conds) == 0 && m.IntN(4) > 0 {
			e.Conds = append(e.Conds, m.cond(&s))
		}
		s.Entries = append(s.Entries, e)
	}
	return s
}

// likely makes an entry one of those that a program may look up together.
func (m *maker) likely(e *share.Entry, fs []share.Field, same bool, n int) {
	exact := m.IntN(3) > 0
	for _, f := range fs {
		c := share.Cond{Fields: []share.Field{f}}
		for range 1 + m.IntN(4)/3 {
			c.Keys = append(c.Keys, m.key(c.Fields, exact))
		}
		e.Conds = append(e.Conds, c)
	}
	e.Ending = share.Drops
	if same {
		return
	}
	switch m.IntN(5) {
	case 0:
		e.Ending, e.Device = share.Forwards, "lo"
	case 1:
		e.Ending, e.To = share.Leaves, n
	}
}

// seed is RULES_SEED, or always the same.
func seed(t *testing.T) uint64 {
	n, err := strconv.ParseUint(os.Getenv("RULES_SEED"), 10, 64)
	if err != nil {
		n = 1
	}
	t.Logf("RULES_SEED=%d", n)
	return n
}

// check compares what the program does with each frame with what the share says.
func (l *loaded) check(s *share.Share, fs []named) {
	l.t.Helper()
	want := make([]Count, len(l.p.Counters))
	slots := map[int]int{}
	for i, ref := range l.p.Counters {
		slots[ref.Number-1] = i
	}
	var totals Totals
	for _, f := range fs {
		if t := number16(f.data, 12); s.Hook == share.TC && (t == etherVLAN || t == etherQinQ) && len(f.data) < 20 {
			continue // the kernel does not let it get there
		}
		r := arrive(s.Hook, f.data).execute(s)
		before, unsure := l.totals().Left, arrive(s.Hook, f.data).doubtful(s)
		got := l.run(f.data)
		if unsure && r.what != "leave" && l.totals().Left > before {
			r = result{what: "leave"} // a lookup for several rules is in doubt where one of them may be
		}
		verdict := map[string]int32{"drop": 1, "forward": 4, "end": 2, "leave": 2}[r.what]
		if s.Hook == share.TC {
			verdict = map[string]int32{"drop": 2, "forward": 7, "end": -1, "leave": -1}[r.what]
		}
		switch r.what {
		case "drop":
			totals.Dropped++
		case "forward":
			totals.Forwarded++
		case "end":
			totals.Ended++
		default:
			totals.Left++
		}
		for _, i := range r.counted {
			want[slots[i]].Packets++
			n, _ := arrive(s.Hook, f.data).load(whole(space.Field{Base: space.Beyond, Len: 32, Name: nameLength}))
			want[slots[i]].Bytes += n.Lo
		}
		if got != verdict {
			l.t.Errorf("%s: returned %d, want %d (%s)", f.name, got, verdict, r.what)
		}
	}
	if got := l.counts(); !slices.Equal(got, want) {
		l.t.Errorf("counters %v, want %v", got, want)
	}
	if got := l.totals(); got != totals {
		l.t.Errorf("totals %+v, want %+v", got, totals)
	}
}

// fill puts the elements of named sets into their maps.
func (l *loaded) fill(s *share.Share) {
	l.t.Helper()
	for _, m := range l.p.Maps {
		if m.Set < 0 {
			continue
		}
		if m.Kind == Tree {
			l.fillTree(m, &s.Sets[m.Set])
			continue
		}
		for _, e := range s.Sets[m.Set].Elems {
			var key []byte
			for i, part := range s.Sets[m.Set].Parts {
				key = appendWords(key, e.Key[i].First, part.Bits)
			}
			data, _ := VerdictData(e.Verdict)
			if err := l.maps[m.Name].Put(key, data); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// fillTree makes the pages of a tree, as package rules would.
func (l *loaded) fillTree(m Map, set *share.Set) {
	l.t.Helper()
	var bits []int
	for _, p := range set.Parts {
		bits = append(bits, p.Bits)
	}
	room, err := tuple.NewSpace(bits, tuple.Widest(bits))
	if err != nil {
		l.t.Fatal(err)
	}
	arena := make([]uint32, m.ValueSize/4*m.Entries)
	t, err := tuple.New(arena, room, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	var es []element
	for _, e := range set.Elems {
		data, _ := VerdictData(e.Verdict)
		es = append(es, element{Key: e.Key, Data: data})
	}
	err = t.Fill(es, false)
	if _, ok := errors.AsType[*tuple.LimitError](err); ok {
		set.Elems = nil // more combinations of prefixes than a set may have
		return
	}
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range pagesOf(arena, int(m.ValueSize)) {
		if err := l.maps[m.Name].Put(p.Key, p.Value); err != nil {
			l.t.Fatal(err)
		}
	}
}

func TestRandomSharesDoWhatTheySay(t *testing.T) {
	n := seed(t)
	for _, hook := range []share.Hook{share.XDP, share.TC} {
		for i := range 40 {
			t.Run(fmt.Sprintf("%s/%d", hook, i), func(t *testing.T) {
				m := newMaker(n, uint64(i), hook)
				s := m.share(1 + m.IntN(40))
				l := install(t, s, Options{Ifindex: map[string]uint32{"lo": 1}})
				l.fill(&s)
				l.check(&s, m.frames)
				if t.Failed() {
					t.Logf("%+v", s)
				}
			})
		}
	}
}
