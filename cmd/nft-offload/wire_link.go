package main

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/link"
)

// links are the devices of the namespace as the engine wants them.
type links struct{ h *link.Handle }

func (l links) Devices(ctx context.Context) ([]engine.Link, error) {
	ds, err := l.h.Devices(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]engine.Link, 0, len(ds))
	for _, d := range ds {
		out = append(out, engineLink(d))
	}
	return out, nil
}

func engineLink(d link.Device) engine.Link {
	l := engine.Link{
		Ifindex: d.Ifindex, Name: d.Name, Kind: d.Kind, Driver: d.Driver, Physical: !d.Virtual(),
		Loopback: d.ARPHRD == unix.ARPHRD_LOOPBACK, Ethernet: d.ARPHRD == unix.ARPHRD_ETHER,
		XDP: engineReason(d.XDPCapable()), XDPTarget: engineReason(d.XDPTarget()),
	}
	if d.Master != nil {
		l.Master, l.MasterKind = d.Master.Name, d.Master.Kind
	}
	for _, f := range d.ForeignFilters {
		l.Filters = append(l.Filters, f.String())
	}
	return l
}

func engineReason(r link.Reason) engine.Reason {
	return engine.Reason{Code: engine.Code(r.Code), Text: r.Text, Advice: r.Fix}
}

func (l links) Watch(ctx context.Context) (<-chan engine.Change, error) {
	events, err := l.h.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return translate(ctx, events, func(e link.Event) (engine.Change, bool) {
		c := engine.Change{What: e.String()}
		switch e.Kind {
		case link.LinkChanged:
			c.Reread = true
			if e.Gone {
				c.Gone = e.Ifindex
			}
		case link.Lost, link.TCChanged, link.XDPChanged:
			c.Reread = true
		case link.AddrChanged, link.RouteChanged, link.RuleChanged, link.NeighChanged, link.FDBChanged:
		}
		return c, true
	}), nil
}
