package rules_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

const (
	turnsOfChanges    = 3
	framesOfChange    = 300
	liveFramesOfTurn  = 40
	patienceForCommit = 10 * time.Second
)

// changing compares a program whose sets change: after some commands of nft, which reach the maps as the daemon makes
// them do it, program and nftables have to agree again.
func (p *proof) changing(text string, d *device, hook share.Hook, r *random) (*failure, error) {
	fail := func(frames [][]byte, wrong ...string) *failure {
		return &failure{stage: "changes " + hook.String(), d: d, wrong: wrong, text: text, frames: frames}
	}
	rs, err := p.lab.load(text)
	if err != nil {
		return nil, err
	}
	e, err := p.load(rs, d, hook)
	if err != nil || len(e.share.Sets) == 0 {
		if err == nil {
			err = e.end()
		}
		return nil, ignore(err)
	}
	w, err := p.watch(e)
	if err != nil {
		return nil, errors.Join(err, e.end())
	}
	defer w.stop()
	var done []string
	for range turnsOfChanges {
		for range 1 + r.IntN(4) {
			if c := r.change(); p.lab.command(c) == nil {
				done = append(done, c)
				p.changes++
			}
		}
		if err := w.follow(); err != nil {
			return nil, errors.Join(fmt.Errorf("after %s: %w", done, err), e.end())
		}
		frames := r.frames(d, framesOfChange)
		wrong, err := p.asChanged(e, text, frames)
		if err != nil {
			return nil, errors.Join(err, e.end())
		}
		if len(wrong) > 0 {
			f := fail(frames, append(wrong, "after "+strings.Join(done, "; "))...)
			return f, e.end()
		}
	}
	return nil, e.end()
}

// ignore leaves out what is said elsewhere: why a program is not there.
func ignore(error) error { return nil }

// command is one of nft. Elements that are not there, or are there already, make some fail.
func (l *lab) command(c string) error {
	_, err := l.ns.Try("nft", strings.Fields(c)...)
	return err
}

// asChanged compares program and nftables with the ruleset as it is now.
func (p *proof) asChanged(e *early, text string, frames [][]byte) ([]string, error) {
	now, err := p.lab.list(text)
	if err != nil {
		return nil, err
	}
	// What rules themselves put into sets is in now: nftables goes first.
	o := p.lab.oracle(now, e.d)
	_, want, err := o.expect(frames[:liveFramesOfTurn])
	if err != nil {
		return nil, ignore(err)
	}
	for at, c := range kernelCounts(now) {
		want[at] = count{want[at].packets + c.packets, want[at].bytes + c.bytes}
	}
	wrong, err := p.lab.kernel(e.d, text, frames[:liveFramesOfTurn], want, nil, patience)
	p.nftAlone += liveFramesOfTurn
	if err != nil || len(wrong) > 0 {
		return wrong, err
	}
	var j judged
	err = p.lab.ns.Do(func() (err error) {
		j, err = p.judge(e, o, frames)
		return err
	})
	if j.frame != nil {
		j.wrong = append(j.wrong, fmt.Sprintf("frame %x", j.frame))
	}
	return j.wrong, err
}

// follower takes changes of sets to the maps of a program.
type follower struct {
	p    *proof
	w    *nft.SetWatch
	stop func()
	n    int
}

func (p *proof) watch(e *early) (*follower, error) {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{p: p, stop: stop}
	err := p.lab.ns.Do(func() (err error) {
		f.w, err = nft.WatchSets(ctx)
		return err
	})
	if err != nil {
		stop()
		return nil, err
	}
	ids := map[element.SetID]bool{}
	for _, s := range e.share.Sets {
		ids[element.SetID{Family: s.Family, Table: s.Table, Name: s.Name}] = true
	}
	f.w.Subscribe(func(id element.SetID) bool { return ids[id] })
	return f, nil
}

// follow makes the changes up to now. A table of its own tells that they were all there.
func (f *follower) follow() error {
	f.n++
	marker := fmt.Sprintf("follower%d", f.n)
	if err := f.p.lab.command("add table inet " + marker); err != nil {
		return err
	}
	defer func() { _ = f.p.lab.command("delete table inet " + marker) }()
	deadline := time.After(patienceForCommit)
	for {
		select {
		case c := <-f.w.Commits():
			if c.Err != nil || c.Lost {
				return fmt.Errorf("watch sets: lost %v: %w", c.Lost, c.Err)
			}
			for _, change := range c.Changes {
				if err := f.p.programs.Apply(change); err != nil {
					return err
				}
			}
			for _, t := range c.Tables {
				if t.Name == marker {
					return nil
				}
			}
		case <-deadline:
			return errors.New("no commit was reported")
		}
	}
}
