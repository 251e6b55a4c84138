package datapath

import (
	"testing"
	"time"
)

func TestMonotonicOffset(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic     1000000  5\nboottime            7         0\n":        1000000*time.Second + 5,
		"boottime            7         0\nmonotonic          -3 500000000\n": -2500 * time.Millisecond,
	} {
		if got, err := monotonicOffset(text); got != want || err != nil {
			t.Errorf("offset of %q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "boottime 7 0\n", "monotonic x 0\n"} {
		if _, err := monotonicOffset(text); err == nil {
			t.Errorf("offset of %q: no error", text)
		}
	}
}
