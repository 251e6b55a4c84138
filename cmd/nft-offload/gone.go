package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nft-offload/nft-offload/internal/datapath"
)

// withdrawGone removes what killed daemons left in network namespaces that do not exist any more: nobody can enter those to
// withdraw, and the maps would stay until the machine boots. It returns the inodes of the namespaces.
func (p places) withdrawGone() ([]uint64, error) {
	entries, err := os.ReadDir(p.bpffs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for pinned datapaths: %w", err)
	}
	var gone []uint64
	var errs []error
	for _, e := range entries {
		ns, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil {
			continue // not ours
		}
		removed, err := p.withdrawIfGone(ns)
		if removed {
			gone = append(gone, ns)
		}
		errs = append(errs, err)
	}
	return gone, errors.Join(errs...)
}

// withdrawIfGone looks first, so that the lock of a namespace that lives is left alone: a daemon that starts there would
// find it taken.
func (p places) withdrawIfGone(ns uint64) (removed bool, err error) {
	dir := filepath.Join(p.bpffs, strconv.FormatUint(ns, 10))
	abandoned, err := datapath.Abandoned(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && !abandoned {
		return false, nil // removed by somebody else, or in use
	}
	if err != nil {
		return false, err
	}
	hold, err := acquire(p.lock(ns))
	if _, ok := errors.AsType[*runningError](err); ok {
		return false, nil // its devices are gone, and its daemon waits for others
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, hold.release()) }()
	abandoned, err = datapath.Abandoned(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && !abandoned {
		return false, nil // somebody else was first
	}
	if err != nil {
		return false, err
	}
	if err := datapath.Withdraw(dir); err != nil {
		return false, fmt.Errorf("withdraw from network namespace %d, which is gone: %w", ns, err)
	}
	if err := os.Remove(p.socket(ns)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return true, fmt.Errorf("remove socket: %w", err)
	}
	return true, nil
}
