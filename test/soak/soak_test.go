package soak

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Environment variables: the full form of every row, and another seed than 1.
const (
	formEnv = "NFT_OFFLOAD_SOAK" // "full"
	seedEnv = "NFT_OFFLOAD_SOAK_SEED"
)

// row is one line of the table.
type row struct {
	name string
	plan plan
	// script does its step so many times, and waits for what follows from each by looking at it. It must draw from the
	// bed's random numbers alike with and without the daemon.
	script func(b *bed, times int)
	short  form
	full   form
	what   string // what the script does: a sentence
	lost   string // what is lost in both runs, and why
	proves string // what else is checked, with the daemon
}

// form is how much of a row is done.
type form struct {
	times int // steps in a run
	pairs int // of runs, each with another seed
}

func rows() []row {
	return append([]row{
		linkFlaps(), deleted(), reloads(), flushes(), vanishes(), kills(), unmounts(), fullTable(), many(), clocks(), overruns(),
	}, guestRows()...)
}

func TestReliability(t *testing.T) {
	full := os.Getenv(formEnv) == "full"
	seed := seedOf(t)
	begin := time.Now()
	var lines []line
	for i, r := range rows() {
		f := r.short
		if full {
			f = r.full
		}
		t.Run(r.name, func(t *testing.T) {
			l := line{row: r, form: f}
			began := time.Now()
			for n := range f.pairs {
				l.pair(t, run{seed: seed<<32 | uint64(i)<<16 | uint64(n), pair: n, full: full})
			}
			lines = append(lines, l)
			if full {
				fmt.Printf("%s: %d lost without, %d lost with (%.0f s)\n", r.name, len(l.without.Lost), len(l.with.Lost), time.Since(began).Seconds())
			}
		})
	}
	if full {
		report(t, lines, seed, time.Since(begin))
		return
	}
	t.Logf("seed %d\n%s", seed, table(lines))
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	s := os.Getenv(seedEnv)
	if s == "" {
		return 1
	}
	n, err := strconv.ParseUint(s, 0, 31)
	if err != nil {
		t.Fatalf("%s=%q is not a number below 2^31", seedEnv, s)
	}
	return n
}

// pair makes the two runs of one seed and compares them.
func (l *line) pair(t *testing.T, r run) {
	t.Helper()
	var without, with outcome
	// In this order: what goes wrong without the daemon is the script's or the machine's fault.
	if !t.Run("without", func(t *testing.T) { without = l.play(t, r) }) ||
		!t.Run("with", func(t *testing.T) { r.ours = true; with = l.play(t, r) }) {
		return
	}
	l.without.sum(without)
	l.with.sum(with)
	for _, name := range slices.Sorted(maps.Keys(with.Lost)) {
		if without.Lost[name] == "" {
			t.Errorf("%s is lost with the daemon only: %s", name, with.Lost[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(without.Lost)) {
		if with.Lost[name] == "" {
			t.Errorf("%s is lost without the daemon only: %s", name, without.Lost[name])
		}
	}
	if with.Damaged > 0 || without.Damaged > 0 {
		t.Errorf("%d messages were damaged without the daemon, %d with it", without.Damaged, with.Damaged)
	}
	if with.Talks != without.Talks {
		t.Errorf("%d connections without the daemon, %d with it", without.Talks, with.Talks)
	}
}

func (l *line) play(t *testing.T, r run) outcome {
	t.Helper()
	b := newBed(t, l.plan, r)
	l.script(b, l.times)
	o := b.finish()
	b.stopped()
	t.Logf("seed %#x, %s: %+v", r.seed, r.hook(), o)
	return o
}

func (o *outcome) sum(p outcome) {
	if o.Lost == nil {
		o.Lost = map[string]string{}
	}
	for name, why := range p.Lost {
		o.Lost[fmt.Sprintf("%d %s", o.Talks, name)] = why
	}
	o.Talks += p.Talks
	o.add(p.harm)
	o.Fast += p.Fast
	o.Slow += p.Slow
}
