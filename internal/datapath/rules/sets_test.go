package rules

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// A script may delete a set and add one of its name: what is put into the old one's map would be read as other keys.
func TestSets_NameWithOtherKeysOfTheSameSize_GetsAMapOfItsOwn(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	s := newSets(func(err error) { t.Error(err) })
	defer func() { must(t, s.close()) }()
	declared := func(change func(*share.Set)) share.Set {
		set := share.Set{Family: "netdev", Table: "t", Name: "s", Parts: parts(16)}
		change(&set)
		return set
	}
	m := bpfgen.Map{Kind: bpfgen.Hash, KeySize: 8, ValueSize: 4, Entries: 10}
	taken := map[setKey]string{}
	for name, set := range map[string]share.Set{
		"ports":       declared(func(*share.Set) {}),
		"marks":       declared(func(s *share.Set) { s.Parts = []share.Part{{Bits: 32, Host: true}} }),
		"addresses":   declared(func(s *share.Set) { s.Parts = parts(32) }),
		"verdict map": declared(func(s *share.Set) { s.Verdicts = true }),
	} {
		k, _, err := s.take(set, m)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := taken[k]; ok {
			t.Errorf("%s and %s have one map", name, other)
		}
		taken[k] = name
		again, _, err := s.take(set, m)
		if err != nil || again != k {
			t.Errorf("%s: another map the second time, %v", name, err)
		}
	}
	if n := len(s.of(element.SetID{Family: "netdev", Table: "t", Name: "s"})); n != len(taken) {
		t.Errorf("%d contents, want %d", n, len(taken))
	}
	if keyOf(declared(func(s *share.Set) { s.Ranges = true }), m) == keyOf(declared(func(*share.Set) {}), m) {
		t.Error("intervals and single keys have one map")
	}
}
