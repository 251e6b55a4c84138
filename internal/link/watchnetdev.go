package link

import (
	"context"
	"errors"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"
)

// netdevCmdChange is NETDEV_CMD_DEV_CHANGE_NTF: the answer to dev-get has changed.
const netdevCmdChange = 4

// openNetdev subscribes to changes of XDP features; nil where the kernel has none to tell.
func (h *Handle) openNetdev() (*genetlink.Conn, error) {
	for _, g := range h.netdev.Groups {
		if g.Name != "mgmt" {
			continue
		}
		c, err := genetlink.Dial(h.config())
		if err != nil {
			return nil, err
		}
		if err := c.JoinGroup(g.ID); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
	return nil, nil
}

func watchNetdev(ctx context.Context, c *genetlink.Conn, out chan<- Event) {
	emit := func(e Event) bool {
		select {
		case out <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		msgs, _, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			// In this order: until the queue is empty the kernel drops more without saying so.
			if err := drain(c); err != nil || !emit(Event{Kind: Lost}) {
				return
			}
			continue
		case err != nil:
			emit(Event{Kind: Lost})
			return
		}
		for _, m := range msgs {
			if m.Header.Command != netdevCmdChange {
				continue
			}
			e := Event{Kind: XDPChanged}
			if e.Ifindex, _, err = decodeNetdev(m.Data); err != nil {
				e = Event{Kind: Lost}
			}
			if !emit(e) {
				return
			}
		}
	}
}
