package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// instance is the hold on a network namespace: a lock file with the holder's pid in it. The kernel drops the lock
// with the process, however it ends.
type instance struct{ f *os.File }

// runningError says who holds the namespace.
type runningError struct{ pid int }

func (e *runningError) Error() string {
	return fmt.Sprintf("nft-offload already runs in this network namespace (pid %d); `nft-offload withdraw` stops it", e.pid)
}

// acquire takes the lock file, or fails with a *runningError.
func acquire(path string) (*instance, error) {
	for {
		f, err := openLock(path)
		if err != nil {
			return nil, fmt.Errorf("take the lock of this network namespace: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			defer f.Close() //nolint:errcheck // nothing was written
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, withCode(exitRunning, &runningError{holder(f)})
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !same(f, path) {
			// The last holder removed the file between open and lock.
			_ = f.Close()
			continue
		}
		return &instance{f}, writePID(f)
	}
}

// openLock opens or makes a lock file. The last holder of any lock removes the directory, too, maybe just now.
func openLock(path string) (*os.File, error) {
	const tries = 10
	var err error
	for range tries {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		var f *os.File
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

// await waits until the holder of the lock file is gone, and takes it.
func await(ctx context.Context, path string, limit time.Duration) (*instance, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		i   *instance
		err error
	}
	got := make(chan result, 1)
	go func() {
		for {
			f, err := openLock(path)
			if err == nil {
				if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err == nil && same(f, path) {
					got <- result{&instance{f}, writePID(f)}
					return
				}
				_ = f.Close()
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				got <- result{nil, err}
				return
			}
		}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, fmt.Errorf("wait for the lock of this network namespace: %w", r.err)
		}
		return r.i, nil
	case <-ctx.Done():
		return nil, ctx.Err() // the process ends soon, and the waiting goroutine with it
	}
}

// same reports whether the path still names the open file.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write pid: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write pid: %w", err)
	}
	return nil
}

// holder reads the pid from a lock file; 0 when it is not there yet.
func holder(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// release removes the file and drops the lock, in this order: nobody can hold a lock on a file that is not there.
func (i *instance) release() error {
	err := os.Remove(i.f.Name())
	return errors.Join(err, i.f.Close())
}
