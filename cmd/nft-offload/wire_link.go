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
	return engineLinks(ds), nil
}

func engineLinks(ds []link.Device) []engine.Link {
	out := make([]engine.Link, 0, len(ds))
	names := map[uint32]string{}
	for _, d := range ds {
		names[d.Ifindex] = d.Name
	}
	for _, d := range ds {
		l := engineLink(d)
		l.Lower = names[d.Below()]
		out = append(out, l)
	}
	return out
}

func engineLink(d link.Device) engine.Link {
	l := engine.Link{
		Ifindex: d.Ifindex, Name: d.Name, Kind: d.Kind, Driver: d.Driver, Physical: !d.Virtual(),
		MTU: d.MTU, Loopback: d.ARPHRD == unix.ARPHRD_LOOPBACK, Ethernet: d.ARPHRD == unix.ARPHRD_ETHER,
		XDP: engineReason(d.XDPCapable()), XDPTarget: engineReason(d.XDPTarget()),
		VLAN: d.VLAN, VLANProtocol: vlanProtocol(d.VLANProtocol), Filtering: d.VLANFiltering,
		PointToPoint: d.PointToPoint, External: d.External,
	}
	if d.Master != nil {
		l.Master, l.MasterKind = d.Master.Name, d.Master.Kind
	}
	for _, f := range d.ForeignFilters {
		l.Filters = append(l.Filters, f.String())
	}
	for _, x := range d.ForeignXDP {
		l.XDPPrograms = append(l.XDPPrograms, x.String())
	}
	if d.Qdisc.Acts() {
		l.Qdisc = d.Qdisc.Root
	}
	return l
}

// vlanProtocol names an Ethertype as ip(8) does.
func vlanProtocol(ethertype uint16) string {
	switch ethertype {
	case unix.ETH_P_8021Q:
		return "802.1Q"
	case unix.ETH_P_8021AD:
		return "802.1ad"
	}
	return ""
}

func engineReason(r link.Reason) engine.Reason {
	return engine.Reason{Code: r.Code, Text: r.Text, Advice: r.Fix}
}

func (l links) Watch(ctx context.Context) (<-chan engine.Change, error) {
	events, err := l.h.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return translate(ctx, events, func(e link.Event) (engine.Change, bool) { return linkChange(e), true }), nil
}

// linkChange is an event as the engine wants it.
func linkChange(e link.Event) engine.Change {
	c := engine.Change{What: e.String()}
	switch e.Kind {
	case link.LinkChanged:
		c.Reread, c.Link = true, e.Ifindex
		if e.Gone {
			c.Gone = e.Ifindex
		}
	case link.TCChanged:
		c.Reread, c.Quiet = true, true
	case link.Lost:
		c.Reread, c.Rules = true, true // a device that rules are about may be another one
	case link.XDPChanged:
		c.Reread = true
	case link.AddrChanged, link.RouteChanged, link.RuleChanged, link.NeighChanged, link.FDBChanged,
		link.PortChanged:
	}
	return c
}
