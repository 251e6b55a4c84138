package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// pinRoot holds one directory a process; the kernel frees all else of a run that was killed, these are left.
const pinRoot = "/sys/fs/bpf/nft-offload-bench"

// pins is the bpffs directory of this run.
type pins struct{ root string }

// newPins makes the directory, and removes what killed runs have left behind.
func newPins() (pins, error) {
	old, err := os.ReadDir(pinRoot)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return pins{}, fmt.Errorf("list %s: %w", pinRoot, err)
	}
	for _, e := range old {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(pinRoot, e.Name())); err != nil {
			return pins{}, fmt.Errorf("remove pins of a killed run: %w", err)
		}
	}
	p := pins{root: pinDirectory()}
	if err := os.MkdirAll(p.root, 0o700); err != nil {
		return pins{}, fmt.Errorf("make pin directory: %w", err)
	}
	return p, nil
}

// pinDirectory is this process's.
func pinDirectory() string { return filepath.Join(pinRoot, strconv.Itoa(os.Getpid())) }

func (p pins) dir(name string) string { return filepath.Join(p.root, name) }

// remove takes away what is left, which is nothing unless a withdrawal failed.
func (p pins) remove() error {
	if err := os.RemoveAll(p.root); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	if err := os.Remove(pinRoot); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", pinRoot, err)
	}
	return nil
}
