package tree

import (
	"errors"
	"slices"
	"testing"
)

func at(first, last uint64) Element { return Element{First: []uint64{first}, Last: []uint64{last}} }

func TestChangesThatFailChangeNothing(t *testing.T) {
	l, r := newLayout(t, []int{32}), random(t)
	tr := newTree(t, l, 1000)
	var m model
	for range 1000 {
		if e := randomElement(r, l); !m.overlaps(e) {
			m = m.insert(e)
		}
	}
	if err := tr.Build(slices.Values(m)); err != nil {
		t.Fatal(err)
	}
	there := m[len(m)/2]
	longer := Element{First: there.First, Last: []uint64{there.Last[0] + 1}}
	for _, c := range []struct {
		name       string
		gone, come []Element
		want       func(error) bool
	}{
		{"overlap", nil, []Element{there}, is[*OverlapError]},
		{"overlap within", nil, []Element{at(1<<31, 1<<31+9), at(1<<31+9, 1<<31+9)}, is[*OverlapError]},
		{"missing", []Element{longer}, nil, is[*MissingError]},
		{"twice", []Element{there, there}, nil, is[*MissingError]},
		{"some first", m[:400], []Element{at(7, 3)}, is[*KeyError]},
		{"all first", m, []Element{at(1<<32, 1<<32)}, is[*KeyError]},
		{"words", nil, []Element{{First: []uint64{1, 2}, Last: []uint64{1, 2}}}, is[*KeyError]},
	} {
		if err := tr.Apply(c.gone, c.come); !c.want(err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := tr.same(m, r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	if err := tr.Build(slices.Values([]Element{at(5, 9), at(9, 11)})); !is[*OverlapError](err) {
		t.Errorf("build: %v", err)
	}
	if err := tr.same(m, r); err != nil {
		t.Fatal(err)
	}
	if err := tr.Apply(m, nil); err != nil || tr.Len() != 0 {
		t.Errorf("all gone: %d are left: %v", tr.Len(), err)
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestFullArenaIsAnErrorAndStaysWhole(t *testing.T) {
	l, r := newLayout(t, []int{64, 64}), random(t)
	graces := 0
	tr, err := New(make([]uint32, 64*l.PageBytes()/cell), l, Options{Reserved: 2, Grace: func() error { graces++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	var m model
	for range 20 {
		for {
			e := randomElement(r, l)
			if m.overlaps(e) {
				continue
			}
			if err := tr.Insert(e); errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			m = m.insert(e)
		}
		if err := tr.same(m, r); err != nil {
			t.Fatal(err)
		}
		for range len(m) / 2 {
			i := r.IntN(len(m))
			if err := tr.Delete(m[i].First, m[i].Last); errors.Is(err, ErrFull) {
				// A deletion needs pages as well, until others have made room.
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			m = slices.Delete(m, i, i+1)
		}
	}
	if graces == 0 {
		t.Error("pages were used again without waiting for readers")
	}
	t.Logf("%d elements in 61 pages, %d graces", len(m), graces)
	tr.grace = func() error { return errors.New("no grace") }
	for range 1000 {
		if e := randomElement(r, l); !m.overlaps(e) && tr.Insert(e) == nil {
			m = m.insert(e)
		}
	}
	if err := tr.same(m, r); err != nil {
		t.Fatal(err)
	}
}

func TestPagesAreReleasedUpToAMark(t *testing.T) {
	l := newLayout(t, []int{32})
	tr := newTree(t, l, 10)
	for i := range uint64(10) {
		if err := tr.Insert(at(i, i)); err != nil {
			t.Fatal(err)
		}
	}
	mark := tr.Mark()
	waiting, spare := tr.Waiting()
	if err := tr.Insert(at(100, 200)); err != nil {
		t.Fatal(err)
	}
	tr.Release(mark)
	if w, s := tr.Waiting(); w != 1 || s != spare+waiting-1 {
		t.Errorf("%d wait and %d are free; before it was %d and %d", w, s, waiting, spare)
	}
	tr.Release(mark)
	if w, _ := tr.Waiting(); w != 1 {
		t.Errorf("an old mark released: %d wait", w)
	}
	tr.Release(tr.Mark())
	if w, s := tr.Waiting(); w != 0 || s != spare+waiting {
		t.Errorf("%d wait and %d are free", w, s)
	}
}

func TestLayoutsAreRefused(t *testing.T) {
	for _, bits := range [][]int{{}, {0}, {65}, {1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		if _, err := NewLayout(bits...); err == nil {
			t.Errorf("%v is a layout", bits)
		}
	}
	l := newLayout(t, []int{32})
	if _, err := New(make([]uint32, l.PageBytes()/cell), l, Options{}); !errors.Is(err, ErrFull) {
		t.Errorf("a tree in one page: %v", err)
	}
}

func TestTreesAreNoHigherThanReadersThink(t *testing.T) {
	for _, bits := range widths() {
		l := newLayout(t, bits)
		for _, pages := range []int{2, 3, 40, 600} {
			tr, err := New(make([]uint32, pages*l.PageBytes()/cell), l, Options{})
			if err != nil {
				t.Fatal(err)
			}
			r := random(t)
			for err == nil {
				e := Element{First: make([]uint64, l.words)}
				for i := range e.First {
					e.First[i] = r.Uint64() & l.top(i)
				}
				e.Last = e.First
				if err = tr.Insert(e); is[*OverlapError](err) && tr.Len() < 4000 {
					err = nil
				}
			}
			if got, most := tr.root().height, l.Height(pages); got > most || !errors.Is(err, ErrFull) && !is[*OverlapError](err) {
				t.Errorf("%v in %d pages: height %d, at most %d: %v", bits, pages, got, most, err)
			}
			if used := tr.Bytes() / l.PageBytes(); used < (pages-1)*2/5 && errors.Is(err, ErrFull) {
				t.Errorf("%v: full with %d of %d pages", bits, used, pages)
			}
		}
	}
}
