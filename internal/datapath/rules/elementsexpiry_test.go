package rules

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Against a map that is looked through.
func TestExpiry_RandomTimes_ComeDueInOrder(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 0))
	var x expiry[int]
	slow := map[int]time.Time{}
	now := time.Unix(1000, 0)
	for range 20000 {
		key := r.IntN(50)
		switch r.IntN(4) {
		case 0:
			x.set(key, time.Time{})
			delete(slow, key)
		case 1:
			now = now.Add(time.Duration(r.IntN(100)))
			for k, at := range slow {
				if !at.After(now) {
					delete(slow, k)
				}
			}
			for {
				k, ok := x.due(now)
				if !ok {
					break
				}
				if _, there := slow[k]; there {
					t.Fatalf("seed %d: %d is taken before its time", seed, k)
				}
			}
			if len(x.when) != len(slow) {
				t.Fatalf("seed %d: %d elements wait, want %d", seed, len(x.when), len(slow))
			}
		default:
			at := now.Add(time.Duration(1 + r.IntN(1000)))
			x.set(key, at)
			slow[key] = at
		}
		var next time.Time
		for _, at := range slow {
			if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if got := x.next(); !got.Equal(next) {
			t.Fatalf("seed %d: next is %v, want %v", seed, got, next)
		}
	}
	if len(x.queue) > 2*len(x.when)+staleAllowed {
		t.Errorf("%d entries for %d elements", len(x.queue), len(x.when))
	}
}
