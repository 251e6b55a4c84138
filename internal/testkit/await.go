package testkit

import (
	"fmt"
	"testing"
	"time"
)

// pollInterval is how often Await looks: short against anything a test waits for, long against one look.
const pollInterval = 5 * time.Millisecond

// Await calls check until it returns nil, for at most timeout; then it returns check's last error, wrapped.
// It is for conditions that nothing announces, such as the kernel's own asynchronous cleanup.
func Await(timeout time.Duration, check func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v: %w", timeout, err)
		}
		time.Sleep(pollInterval)
	}
}

// MustAwait is Await that fails the test.
func MustAwait(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	if err := Await(timeout, check); err != nil {
		t.Fatal(err)
	}
}
