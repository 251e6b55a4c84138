package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// pinsGoneError says that the pins of a running datapath have vanished: the bpf file system was unmounted, or somebody
// removed the files. From Linux 6.6 on they are what keeps programs attached, so nothing is carried any more, and what is
// left cannot be repaired: the maps have no names.
type pinsGoneError struct{ dir string }

func (e *pinsGoneError) Error() string {
	return fmt.Sprintf("the pins in %s are gone, and with them what keeps the programs on the devices (was the bpf file system unmounted?); start nft-offload again", e.dir)
}

// stillPinned looks for one of the pins.
func stillPinned(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, "control")); errors.Is(err, fs.ErrNotExist) {
		return &pinsGoneError{dir}
	}
	return nil
}
