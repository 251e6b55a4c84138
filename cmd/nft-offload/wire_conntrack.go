package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// connections is the care for conntrack entries as the engine wants it.
type connections struct{ c *conntrack.Conn }

func (c connections) SetLiberal(conns []packet.Tuple) error {
	var errs []error
	for i, err := range c.c.SetLiberal(conns...) {
		if err != nil && !harmless(err) {
			errs = append(errs, fmt.Errorf("%s: %w", conns[i], err))
		}
	}
	if len(errs) > 1 {
		return fmt.Errorf("%w (and %d more)", errs[0], len(errs)-1)
	}
	return errors.Join(errs...)
}

func (c connections) RestoreTimeout(conn packet.Tuple, idle time.Duration) error {
	if err := c.c.RestoreTimeout(conn, idle); !harmless(err) {
		return err
	}
	return nil
}

// harmless says that the connection needs no care any more.
func harmless(err error) bool {
	return err == nil || errors.Is(err, conntrack.ErrNotFound) || errors.Is(err, conntrack.ErrOffloaded) ||
		errors.Is(err, conntrack.ErrClosing) || errors.Is(err, unix.EBUSY)
}
