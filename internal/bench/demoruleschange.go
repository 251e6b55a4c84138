package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// changeAll adds and deletes a prefix while packets of it flow, a few times.
func (d *rulesDemo) changeAll(ctx context.Context, dm *daemon) error {
	took := map[string][]float64{}
	verbs := []string{"add", "delete"}
	for range rulesDemoChanges {
		for _, verb := range verbs {
			d.step(fmt.Sprintf("nft %ss a prefix whose traffic flows", verb))
			c, err := d.change(ctx, dm, verb)
			if err != nil {
				return err
			}
			d.changes = append(d.changes, c)
			took[verb] = append(took[verb], max(c.EffectMs, c.ProgramMs))
		}
	}
	for _, verb := range verbs {
		typical := median(took[verb])
		d.checks = append(d.checks, Check{
			Name: "xdp: what nft " + verb + "s has its effect within " + effectLimit.String(), OK: typical <= inMillis(effectLimit),
			Detail: fmt.Sprintf("%.1f ms after the kernel's commit, the median of %d", typical, len(took[verb])),
		})
	}
	return nil
}

// Limits of the watch on one change: nft(8) reads all elements first, which takes it a second or two.
const (
	changeLimit = 20 * time.Second
	changePace  = 200 * time.Microsecond
)

var errNoEffect = errors.New("a change made with nft has no effect")

// change runs nft beside a stream of packets, and finds when the stream stopped, or went on.
func (d *rulesDemo) change(ctx context.Context, dm *daemon, verb string) (RulesDemoChange, error) {
	c := RulesDemoChange{Command: fmt.Sprintf("%s element netdev %s %s { %s }", verb, rulesTable, rulesSet, changedPrefix)}
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	committed, err := d.commits(ctx)
	if err != nil {
		return c, err
	}
	base, err := dm.droppedEarly(ctx, d.topo.r0.name)
	if err != nil {
		return c, err
	}
	command := make(chan error, 1)
	var took time.Duration
	go func() {
		command <- d.topo.router.elsewhere(func() error {
			start := time.Now()
			_, err := nftHere(ctx, c.Command, "-f", "-")
			took = time.Since(start)
			return err
		})
	}()
	effect, stopped, err := d.stream(ctx, dm, verb == "delete", base)
	if err := errors.Join(err, <-command); err != nil {
		return c, err
	}
	c.CommandMs = inMillis(took)
	commit, ok := <-committed
	if !ok {
		return c, noEffect(ctx)
	}
	c.EffectMs = max(0, inMillis(effect.Sub(commit)))
	if verb == "add" {
		c.ProgramMs = max(0, inMillis(stopped.Sub(commit)))
	}
	return c, nil
}

// commits says when the kernel tells of the next change of the set.
func (d *rulesDemo) commits(ctx context.Context) (<-chan time.Time, error) {
	var watch *nft.SetWatch
	err := d.topo.router.do(func() (err error) {
		watch, err = nft.WatchSets(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	watch.Subscribe(func(id element.SetID) bool {
		return id == element.SetID{Family: ruleset.Netdev, Table: rulesTable, Name: rulesSet}
	})
	out := make(chan time.Time, 1)
	go func() {
		defer close(out)
		for c := range watch.Commits() {
			if len(c.Changes) > 0 {
				out <- time.Now()
				return
			}
		}
	}()
	return out, nil
}

// stream sends packets of the changed prefix until they arrive, or do not, and then until the program has dropped one
// where they do not. It returns when that was.
func (d *rulesDemo) stream(ctx context.Context, dm *daemon, arrive bool, base uint64) (effect, stopped time.Time, err error) {
	frame := d.frameFrom(netip.MustParseAddr(changedHost))
	for ctx.Err() == nil {
		arrives, err := d.arrives(frame)
		if err != nil {
			return effect, stopped, err
		}
		if arrives == arrive && effect.IsZero() {
			effect = time.Now()
		}
		if arrive && !effect.IsZero() {
			return effect, stopped, nil
		}
		if !effect.IsZero() {
			n, err := dm.droppedEarly(ctx, d.topo.r0.name)
			if err != nil {
				return effect, stopped, err
			}
			if n > base {
				return effect, time.Now(), nil
			}
		}
		time.Sleep(changePace)
	}
	return effect, stopped, noEffect(ctx)
}

// noEffect is why the watch ended: somebody wanted it to, or its time was over.
func noEffect(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return errNoEffect
}
