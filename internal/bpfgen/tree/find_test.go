package tree

import (
	"fmt"
	"testing"
)

func TestFindAndHighestAreTheElementsPutIn(t *testing.T) {
	l, err := NewLayout(32)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(make([]uint32, 300*l.PageBytes()/cell), l, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := tr.Find([]uint64{1}); ok {
		t.Error("an empty tree has an element")
	}
	if _, ok := tr.Highest(); ok {
		t.Error("an empty tree has a highest element")
	}
	const many = 3000
	for i := range uint64(many) {
		at := i * 7 % many // in another order
		if err := tr.Insert(Element{First: []uint64{10 * at}, Last: []uint64{10*at + 4}, Data: uint32(at)}); err != nil {
			t.Fatal(err)
		}
	}
	for key := range uint64(10 * many) {
		e, ok := tr.Find([]uint64{key})
		want := Element{First: []uint64{key / 10 * 10}, Last: []uint64{key/10*10 + 4}, Data: uint32(key / 10)}
		if ok != (key%10 <= 4) || ok && fmt.Sprint(e, e.Data) != fmt.Sprint(want, want.Data) {
			t.Fatalf("%d: found %v with %d, %v", key, e, e.Data, ok)
		}
	}
	if e, ok := tr.Highest(); !ok || e.First[0] != 10*(many-1) {
		t.Errorf("the highest is %v, %v", e, ok)
	}
}
