package main

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func TestWatchedRules_ChangesThatConcernWhatRunsEarly(t *testing.T) {
	table := func(f ruleset.Family, name string) *ruleset.Table { return &ruleset.Table{Family: f, Name: name} }
	hooked := func(hook string) *ruleset.Table {
		return &ruleset.Table{Family: ruleset.Inet, Name: hook, Chains: []*ruleset.Chain{{Name: "r"}, {Name: "c", Base: &ruleset.Base{Hook: hook}}}}
	}
	fast := table(ruleset.IP, "fast")
	fast.Flowtables = []*ruleset.Flowtable{{Name: "f"}}
	w := newWatchedRules()
	read := func(seen []nft.TableID) {
		w.know(&ruleset.Ruleset{Tables: []*ruleset.Table{
			table(ruleset.Netdev, "t"), table(ruleset.IP, "plain"), fast, hooked("forward"), hooked("ingress"),
		}}, nil, seen)
	}
	changed := func(f ruleset.Family, name string, ingress bool) bool {
		id := nft.TableID{Family: f, Name: name}
		c := nft.Commit{Tables: []nft.TableID{id}}
		if ingress {
			c.Ingress = c.Tables
		}
		got, ok := w.change(c)
		return ok && got.Rules
	}
	if !changed(ruleset.Inet, "forward", false) {
		t.Error("nothing was read yet: a table does not concern")
	}
	read(nil)
	for _, c := range []struct {
		family  ruleset.Family
		name    string
		ingress bool
		want    bool
	}{
		{ruleset.Netdev, "t", false, true},
		{ruleset.Netdev, "new", false, true},
		{ruleset.IP, "plain", false, false},
		{ruleset.IP, "fast", false, true},
		{ruleset.IP, "new", false, true},
		{ruleset.Inet, "ingress", false, true},
		{ruleset.Inet, "new", false, true},
		{ruleset.Inet, "forward", false, false},
		{ruleset.Inet, "forward", true, true},
		// Until a reading that began behind the change.
		{ruleset.Inet, "forward", false, true},
	} {
		if got := changed(c.family, c.name, c.ingress); got != c.want {
			t.Errorf("%s %s, ingress %v: concerns %v", c.family, c.name, c.ingress, got)
		}
	}
	read(nil) // began before
	if !changed(ruleset.Inet, "forward", false) {
		t.Error("a reading from before the new chain makes its table not concern")
	}
	read(w.told())
	if changed(ruleset.Inet, "forward", false) {
		t.Error("the new chain is gone, and the table concerns")
	}
}
