package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// talkOn waits until every talk, hushed ones apart, has gone on by so many rounds. Those that do not are lost.
func (b *bed) talkOn(rounds uint64, hushed ...string) {
	b.t.Helper()
	want := map[talk]uint64{}
	for _, c := range b.talks {
		if kind, _, _ := strings.Cut(c.label(), "-"); c.lost() == nil && !slices.Contains(hushed, kind) {
			want[c] = c.rounds() + rounds
		}
	}
	err := testkit.Await(patience, func() error {
		for c, n := range want {
			if got := c.rounds(); c.lost() == nil && got < n {
				return fmt.Errorf("stands still after %d rounds", got)
			}
		}
		return nil
	})
	if err == nil {
		return
	}
	for c, n := range want {
		if c.rounds() < n {
			c.giveUp(err)
		}
	}
}

// carriedLimit is how long a connection may take to become fast once it talks: entries of both directions, a change of
// generation, TCP's flags, and the daemon's reading of the machine before all that. An emulated machine is slow.
const carriedLimit = time.Minute

// carried waits until the daemon carries both directions of every talk that lives. In the run without it there is
// nothing to wait for.
func (b *bed) carried(hushed ...string) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	want := 0
	for _, c := range b.talks {
		if kind, _, _ := strings.Cut(c.label(), "-"); c.lost() == nil && !slices.Contains(hushed, kind) {
			want += 2
		}
	}
	testkit.MustAwait(b.t, carriedLimit, func() error {
		flows, ready := b.d.Flows(), 0
		for _, f := range flows {
			if f.State == "ready" && time.Duration(f.Idle) < time.Second {
				ready++
			}
		}
		if ready < want {
			return fmt.Errorf("%d of %d directions are fast: %+v\n%+v", ready, want, b.d.Status().Devices, flows)
		}
		return nil
	})
	before := b.d.Status().Stats.FastPackets().Packets
	testkit.MustAwait(b.t, carriedLimit, func() error {
		if got := b.d.Status().Stats.FastPackets().Packets; got < before+uint64(want) {
			return fmt.Errorf("%d packets were fast, %d before", got, before)
		}
		return nil
	})
}

// hooked waits until the daemon runs on exactly these devices, and where it was told to.
func (b *bed) hooked(devices ...string) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, carriedLimit, func() error {
		on := map[string]engine.Hook{}
		for _, d := range b.d.Status().Devices {
			if d.Hook != engine.Off {
				on[d.Name] = d.Hook
			}
		}
		for _, name := range devices {
			want := b.hook()
			if name == extra {
				want = engine.TC // veth, and nobody has asked for more
			}
			if on[name] != want {
				return fmt.Errorf("%s is not at %s: %+v", name, want, b.d.Status().Devices)
			}
		}
		if len(on) != len(devices) {
			return fmt.Errorf("on %v, want %v", on, devices)
		}
		return nil
	})
}

// tracked lists the router's conntrack entries.
func (b *bed) tracked() []conntrack.Entry {
	b.t.Helper()
	var found []conntrack.Entry
	err := b.r.Router.Do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing was written
		for e, err := range c.Dump(conntrack.Filter{}) {
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}
