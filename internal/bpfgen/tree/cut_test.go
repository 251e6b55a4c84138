package tree

import (
	"fmt"
	"slices"
	"testing"
)

func TestCutKeepsTheLowest(t *testing.T) {
	l := newLayout(t, []int{8})
	in := []Element{at(0, 255), at(10, 20), at(15, 30), at(10, 10), at(31, 31), at(250, 255)}
	for i, data := range []uint32{9, 3, 4, 1, 4, 0} {
		in[i].Data = data
	}
	out, err := l.Cut(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range out {
		got = append(got, fmt.Sprintf("%d-%d:%d", e.First[0], e.Last[0], e.Data))
	}
	want := []string{"0-9:9", "10-10:1", "11-20:3", "21-31:4", "32-249:9", "250-255:0"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestCutAsAListOfRules(t *testing.T) {
	for _, bits := range [][]int{{8}, {64}, {3, 4}, {64, 64}, {1, 64, 2}} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			l, r := newLayout(t, bits), random(t)
			for range 300 {
				var rules []Element
				for i := range r.IntN(40) {
					a, b := randomElement(r, l).First, randomElement(r, l).Last
					if slices.Compare(a, b) > 0 {
						a, b = b, a
					}
					rules = append(rules, Element{First: a, Last: b, Data: uint32(i / 2)})
				}
				out, err := l.Cut(slices.Clone(rules))
				if err != nil {
					t.Fatal(err)
				}
				if len(out) > 2*len(rules) {
					t.Fatalf("%d of %d", len(out), len(rules))
				}
				tr := newTree(t, l, len(out))
				if err := tr.Build(slices.Values(out)); err != nil {
					t.Fatal(err)
				}
				for range 50 {
					key := model(rules).probe(r, l)
					i := slices.IndexFunc(rules, func(e Element) bool {
						return slices.Compare(e.First, key) <= 0 && slices.Compare(key, e.Last) <= 0
					})
					data, ok := tr.Lookup(key)
					if ok != (i >= 0) || ok && data != rules[i].Data {
						t.Fatalf("%x is %d (%t), rule %d of %v", key, data, ok, i, rules)
					}
				}
			}
		})
	}
}
