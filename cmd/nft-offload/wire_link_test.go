package main

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/link"
)

func TestLinkChange_SaysWhatRulesDependOn(t *testing.T) {
	for _, c := range []struct {
		event link.Event
		want  engine.Change
	}{
		{link.Event{Kind: link.LinkChanged, Ifindex: 7}, engine.Change{Reread: true, Link: 7}},
		{link.Event{Kind: link.LinkChanged, Ifindex: 7, Gone: true}, engine.Change{Reread: true, Link: 7, Gone: 7}},
		{link.Event{Kind: link.Lost}, engine.Change{Reread: true, Rules: true}},
		{link.Event{Kind: link.TCChanged, Ifindex: 7}, engine.Change{Reread: true, Quiet: true}},
		{link.Event{Kind: link.RouteChanged, Ifindex: 7}, engine.Change{}},
	} {
		got := linkChange(c.event)
		if got.Reread != c.want.Reread || got.Quiet != c.want.Quiet || got.Gone != c.want.Gone || got.Link != c.want.Link || got.Rules != c.want.Rules {
			t.Errorf("%s: %+v", c.event, got)
		}
	}
}
