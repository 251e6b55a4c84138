package rules_test

import (
	"errors"
	"hash/fnv"
	"strconv"
	"testing"
	"time"
)

func seedOf(t testing.TB) uint64 {
	s := env("RULES_SEED", "1")
	if s == "new" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(time.Now().String()))
		s = strconv.FormatUint(h.Sum64()%1e9, 10)
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("RULES_SEED=%d repeats this run", seed)
	return seed
}

func TestNFTOnly(t *testing.T) {
	seed := seedOf(t)
	l := newLab(t)
	n, _ := strconv.Atoi(env("RULES_ROUNDS", "20"))
	start := time.Now()
	bad, ended, total := 0, 0, 0
	for i := range uint64(n) {
		r := newRandom(seed, i)
		text, rs, err := l.accepted(r.ruleset())
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, d := range l.in {
			frames := r.frames(d, 300)
			if rs, err = l.load(text); err != nil {
				t.Fatal(err)
			}
			diffs, err := l.nft(d, text, rs, frames, 200*time.Millisecond)
			if errors.Is(err, errMissing) {
				t.Logf("%d: %v", i, err)
				bad++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			o := l.oracle(rs, d)
			for _, f := range frames {
				x, _ := o.run(f)
				if total++; x.fate != passes {
					ended++
				}
			}
			if len(diffs) > 0 {
				bad++
				text, f := l.shrink(text, d, frames, func(text string, fs [][]byte) bool {
					rs, err := l.load(text)
					if err != nil {
						return false
					}
					dd, err := l.nft(d, text, rs, fs, 50*time.Millisecond)
					return err == nil && len(dd) > 0
				})
				rs, _ = l.load(text)
				o := l.oracle(rs, d)
				x, _ := o.run(f)
				t.Logf("round %d %s: %v\n%s%x\n%v", i, d.Name, diffs, text, f, x.steps)
			}
		}
	}
	t.Logf("%d bad, %d of %d frames ended, %v", bad, ended, total, time.Since(start))
}
