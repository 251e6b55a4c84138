package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is the room for notifications that wait, in bytes. A route flap of a full table (a million routes,
// about 1 KiB of kernel memory each) does not fit anything; Lost is for that.
const watchBuffer = 16 << 20

// watcher turns notifications into events. One goroutine owns it.
type watcher struct {
	ctx   context.Context
	conn  *netlink.Conn // the subscription
	ask   *netlink.Conn // for dumps
	links map[uint32]linkMsg
	neigh *neighbors
	out   chan<- Event
}

// groups are the rtnetlink multicast groups a watch joins.
func groups() []uint32 {
	return []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_BRVLAN,
	}
}

// Watch reports changes from the moment it returns until the context ends; then the channel is closed. A channel
// that closes before is a watch that failed, and comes after a Lost. When the reader is slow the kernel keeps
// notifications, and drops them when it has too many: that is a Lost too.
func (h *Handle) Watch(ctx context.Context) (<-chan Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan Event, 64)
	w := &watcher{ctx: ctx, out: out}
	err := w.open(h)
	var nd *genetlink.Conn
	if err == nil {
		nd, err = h.openNetdev()
	}
	if err != nil {
		cancel()
		w.close()
		return nil, fmt.Errorf("watch network: %w", err)
	}
	// Closing the sockets is what ends a receive in progress.
	context.AfterFunc(ctx, func() {
		w.close()
		if nd != nil {
			_ = nd.Close()
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { defer cancel(); w.run() })
	if nd != nil {
		wg.Go(func() { defer cancel(); watchNetdev(ctx, nd, out) })
	}
	go func() { wg.Wait(); close(out) }()
	return out, nil
}

func (w *watcher) open(h *Handle) (err error) {
	if w.ask, err = netlink.Dial(unix.NETLINK_ROUTE, h.config()); err != nil {
		return err
	}
	if w.conn, err = netlink.Dial(unix.NETLINK_ROUTE, h.config()); err != nil {
		return err
	}
	if err := w.conn.SetReadBuffer(watchBuffer); err != nil {
		return err
	}
	for _, g := range groups() {
		if err := w.conn.JoinGroup(g); err != nil {
			return err
		}
	}
	// After joining: what changes from here on is either in the dump or still to be received.
	return w.prime()
}

func (w *watcher) close() {
	for _, c := range []*netlink.Conn{w.conn, w.ask} {
		if c != nil {
			_ = c.Close()
		}
	}
}

func (w *watcher) prime() error {
	links, err := readLinks(w.ask)
	if err != nil {
		return err
	}
	w.links = make(map[uint32]linkMsg, len(links))
	for _, l := range links {
		w.links[l.ifindex] = l
	}
	w.neigh = newNeighbors()
	if err := w.neigh.prime(w.ask); err != nil {
		return fmt.Errorf("list neighbors: %w", err)
	}
	return nil
}

func (w *watcher) run() {
	for {
		msgs, err := w.conn.Receive()
		switch {
		case w.ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			if err := w.resync(); err != nil {
				return
			}
			continue
		case err != nil:
			w.emit(Event{Kind: Lost})
			return
		}
		for _, m := range msgs {
			e, ok, err := w.event(m)
			if err != nil {
				e, ok = Event{Kind: Lost}, true // a message we cannot read is one we have not got
			}
			if ok && !w.emit(e) {
				return
			}
		}
	}
}

// resync follows an overrun. What still waits is older than what was dropped, so it must not go over a fresh dump.
// And until the queue has been empty once, the kernel drops more without saying so again (NETLINK_S_CONGESTED).
func (w *watcher) resync() error {
	if !w.emit(Event{Kind: Lost}) {
		return w.ctx.Err()
	}
	if err := drain(w.conn); err != nil {
		return err
	}
	if err := w.prime(); err != nil {
		return err
	}
	// What came between the first Lost and the dump is in neither.
	if !w.emit(Event{Kind: Lost}) {
		return w.ctx.Err()
	}
	return nil
}

// drain throws away what waits. A read deadline would not do: Go looks at it before it reads.
func drain(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	rerr := raw.Read(func(fd uintptr) bool {
		var b [1]byte // the rest of the datagram goes with it
		for {
			_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				return true
			}
		}
	})
	if rerr == nil && !errors.Is(err, unix.EAGAIN) {
		rerr = err
	}
	return rerr
}

func (w *watcher) emit(e Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// event reads one notification. The second result is false where nothing changed that matters.
func (w *watcher) event(m netlink.Message) (Event, bool, error) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.link(m)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := decodeNeigh(m)
		if err != nil {
			return Event{}, false, err
		}
		e, ok := w.neigh.update(n)
		return e, ok, nil
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return address(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return route(m)
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return Event{Kind: RouteChanged, Gone: m.Header.Type == unix.RTM_DELNEXTHOP}, true, nil
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return Event{Kind: RuleChanged, Gone: m.Header.Type == unix.RTM_DELRULE}, true, nil
	case unix.RTM_NEWVLAN, unix.RTM_DELVLAN:
		// struct br_vlan_msg { u8 family, reserved; u16 reserved; u32 ifindex; } (include/uapi/linux/if_bridge.h)
		if len(m.Data) < sizeofBrVLANMsg {
			return Event{}, false, errShort
		}
		return Event{Kind: PortChanged, Ifindex: u32(m.Data[4:])}, true, nil
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTCLASS, unix.RTM_DELTCLASS, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		if len(m.Data) < sizeofTcMsg {
			return Event{}, false, errShort
		}
		return Event{Kind: TCChanged, Ifindex: u32(m.Data[4:])}, true, nil
	default:
		return Event{}, false, nil
	}
}

const sizeofBrVLANMsg = 8

func (w *watcher) link(m netlink.Message) (Event, bool, error) {
	l, err := decodeLink(m)
	if err != nil {
		return Event{}, false, err
	}
	e := Event{
		Kind: LinkChanged, Ifindex: l.ifindex, Name: l.name,
		Up: l.flags&unix.IFF_UP != 0, Running: l.flags&unix.IFF_RUNNING != 0,
	}
	// The bridge sends messages of its own about its ports: their state, flags and VLANs. A "delete" there means "no
	// longer a port"; who is a port of what is in the device's own message.
	if m.Data[0] == unix.AF_BRIDGE {
		return Event{Kind: PortChanged, Ifindex: l.ifindex, Name: l.name, Gone: m.Header.Type == unix.RTM_DELLINK}, true, nil
	}
	if m.Header.Type == unix.RTM_DELLINK {
		delete(w.links, l.ifindex)
		e.Gone, e.Up, e.Running = true, false, false
		return e, true, nil
	}
	// Wireless statistics, router advertisements and promiscuous mode notify too.
	const matter = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP | unix.IFF_NOARP | unix.IFF_POINTOPOINT
	l.flags &= matter
	old, known := w.links[l.ifindex]
	old.flags &= matter
	w.links[l.ifindex] = l
	return e, !known || old != l || announced(m), nil
}

// announced reports whether the notification says that something changed that is not in it: features of the device,
// or how a bond uses its ports.
func announced(m netlink.Message) bool {
	_, ad, err := split(m, unix.SizeofIfInfomsg)
	if err != nil {
		return false
	}
	for ad.Next() {
		if ad.Type() == unix.IFLA_EVENT {
			switch ad.Uint32() {
			case unix.IFLA_EVENT_FEATURES, unix.IFLA_EVENT_BONDING_FAILOVER, unix.IFLA_EVENT_BONDING_OPTIONS:
				return true
			}
		}
	}
	return false
}

func address(m netlink.Message) (Event, bool, error) {
	h, ad, err := split(m, unix.SizeofIfAddrmsg) // u8 family, prefixlen, flags, scope; u32 index
	if err != nil {
		return Event{}, false, err
	}
	e := Event{Kind: AddrChanged, Ifindex: u32(h[4:]), Gone: m.Header.Type == unix.RTM_DELADDR}
	for ad.Next() {
		if t := ad.Type(); t == unix.IFA_LOCAL || t == unix.IFA_ADDRESS && !e.Prefix.IsValid() {
			a, _ := netip.AddrFromSlice(ad.Bytes())
			e.Prefix = netip.PrefixFrom(a, int(h[1]))
		}
	}
	return e, true, ad.Err()
}

func route(m netlink.Message) (Event, bool, error) {
	// u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags
	h, ad, err := split(m, unix.SizeofRtMsg)
	if err != nil {
		return Event{}, false, err
	}
	if h[0] != unix.AF_INET && h[0] != unix.AF_INET6 || u32(h[8:])&unix.RTM_F_CLONED != 0 {
		return Event{}, false, nil
	}
	e := Event{Kind: RouteChanged, Table: uint32(h[4]), Gone: m.Header.Type == unix.RTM_DELROUTE}
	dst := netip.IPv4Unspecified()
	if h[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(ad.Bytes()); ok {
				dst = a
			}
		case unix.RTA_OIF:
			e.Ifindex = ad.Uint32()
		case unix.RTA_TABLE:
			e.Table = ad.Uint32()
		}
	}
	e.Prefix = netip.PrefixFrom(dst, int(h[1]))
	return e, true, ad.Err()
}
