package conntrack

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// ErrOffloaded says that the kernel's own flowtable looks after the connection.
var ErrOffloaded = errors.New("connection is in a flowtable of the kernel")

// ErrClosing says that the TCP connection is no longer (or not yet) established; its timeout is the kernel's business.
var ErrClosing = errors.New("connection is not established")

// RestoreTimeout gives a TCP connection what it would have without the fast path, once it is idle: the flags that
// BE_LIBERAL froze are cleared (see SetLiberal), and a timeout that they shortened becomes
// nf_conntrack_tcp_timeout_established less the idle time. Idle is the time since conntrack last saw a packet.
//
// Shortened means: the last packet left nf_conntrack_tcp_timeout_unacknowledged, or ..._max_retrans (the count of
// repeated ACKs freezes too), and the time left shows it. So a timeout that the ruleset asks for (nft's ct timeout)
// stays, unless it is one of these two. The flags themselves tell nothing: they may have been cleared since.
//
// The kernel has no "set if established": a FIN between reading and writing would leave a closed connection with a
// timeout of days. Therefore the entry is read again afterwards; if it has left ESTABLISHED, the old time left comes
// back and the error is ErrClosing.
func (c *Conn) RestoreTimeout(orig packet.Tuple, idle time.Duration) error {
	if err := c.restoreTimeout(orig, idle); err != nil {
		return fmt.Errorf("restore timeout of %s: %w", orig, err)
	}
	return nil
}

func (c *Conn) restoreTimeout(orig packet.Tuple, idle time.Duration) error {
	before, err := c.established(orig)
	if err != nil {
		return err
	}
	established, err := c.EstablishedTimeout()
	if err != nil {
		return err
	}
	short, err := c.shortened(before.Timeout + idle)
	if err != nil {
		return err
	}
	u := Update{Orig: orig, Flags: LiberalFlags, Mask: LiberalMask}
	if left := (established - idle).Truncate(time.Second); short && left > before.Timeout {
		u.Timeout = left
	}
	if err := c.one(u); err != nil {
		return err
	}
	if u.Timeout == 0 {
		return nil
	}
	_, err = c.established(orig)
	if !errors.Is(err, ErrClosing) {
		return err
	}
	// No state that follows ESTABLISHED may last longer than what was left before the FIN.
	return errors.Join(err, c.SetTimeout(orig, max(before.Timeout, time.Second)))
}

// How far what the last packet left may be from a sysctl. Below: "idle" counts from the last packet, which may have
// been a fast one, one renewal after the last that conntrack saw. Above: both are cut to seconds.
const (
	shortSlackBelow = 15 * time.Second
	shortSlackAbove = 2 * time.Second
)

// shortened reports whether the timeout that the last packet left is one for connections in trouble.
func (c *Conn) shortened(full time.Duration) (bool, error) {
	for _, f := range []*os.File{c.sysctl.unacknowledged, c.sysctl.maxRetrans} {
		limit, err := readSeconds(f)
		if err != nil {
			return false, err
		}
		if full > limit-shortSlackBelow && full <= limit+shortSlackAbove {
			return true, nil
		}
	}
	return false, nil
}

// established reads a TCP connection that conntrack holds to be established and that no flowtable has.
func (c *Conn) established(orig packet.Tuple) (Entry, error) {
	e, err := c.Get(orig)
	switch {
	case err != nil:
		return Entry{}, err
	case e.Status.Has(Offload):
		return Entry{}, ErrOffloaded
	case e.TCP == nil:
		return Entry{}, errors.New("not a tcp connection")
	case e.TCP.State != TCPEstablished || e.Status.Has(Dying):
		return Entry{}, fmt.Errorf("%w: %s", ErrClosing, e.TCP.State)
	}
	return e, nil
}
