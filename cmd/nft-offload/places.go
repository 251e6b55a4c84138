package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
)

// places are the directories that hold what belongs to a network namespace. The names are its inode, which is what
// tells namespaces apart and is the same from wherever they are looked at.
type places struct {
	state string // lock files and sockets
	bpffs string // pins; its parent is the mount point
}

func systemPlaces() places {
	return places{state: "/run/nft-offload", bpffs: "/sys/fs/bpf/nft-offload"}
}

func (p places) lock(ns uint64) string { return filepath.Join(p.state, fmt.Sprintf("%d.lock", ns)) }

func (p places) socket(ns uint64) string { return filepath.Join(p.state, fmt.Sprintf("%d.sock", ns)) }

func (p places) pins(ns uint64) string { return filepath.Join(p.bpffs, fmt.Sprint(ns)) }

// tidy removes the directories that all namespaces share, when nothing is in them.
func (p places) tidy() {
	for _, dir := range []string{p.state, p.bpffs} {
		_ = unix.Rmdir(dir) // not empty: another namespace uses it
	}
}

// pinned reports whether a datapath is pinned for the namespace.
func (p places) pinned(ns uint64) (bool, error) {
	_, err := os.Stat(p.pins(ns))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a pinned datapath: %w", err)
	}
	return true, nil
}

// carries reports whether a datapath is pinned for the namespace that is on a device of it. What is not was left in an
// earlier namespace of the same number, or its devices are gone.
func (p places) carries(ns uint64) (bool, error) {
	abandoned, err := datapath.Abandoned(p.pins(ns))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && !abandoned, err
}
