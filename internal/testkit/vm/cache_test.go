package vm

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestLockIsExclusiveAndGivesUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := lock(short, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a held lock was taken or failed otherwise: %v", err)
	}
	unlock()
	again, err := lock(t.Context(), path) // the waiter that gave up must not keep it
	if err != nil {
		t.Fatal(err)
	}
	again()
}
