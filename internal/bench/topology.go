package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// device is one end of a veth pair.
type device struct {
	ns    *namespace
	name  string
	mac   packet.MAC
	index int
	addr4 netip.Prefix
	addr6 netip.Prefix
}

func (d device) addr(six bool) netip.Addr {
	if six {
		return d.addr6.Addr()
	}
	return d.addr4.Addr()
}

// topology is
//
//	client c0 ── r0 router r1 ── s0 server
//	10.0.1.2/24  10.0.1.1/24   198.51.100.1/24  198.51.100.2/24
//	2001:db8:1::2/64  ::1      2001:db8:2::1/64 ::2
//
// Neighbours are permanent, so that nothing but what is sent moves.
type topology struct {
	client, router, server *namespace
	c0, r0, r1, s0         device
}

// ends says what the client and the server are.
type ends bool

const (
	silent ends = false // devices without addresses: every frame is the generator's and the sink's
	hosts  ends = true  // addresses and routes, for sockets
)

// newTopology builds it. The calling goroutine must be locked to its thread.
func newTopology(e ends) (_ *topology, err error) {
	t := &topology{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build topology: %w", err), t.close())
		}
	}()
	for _, n := range []struct {
		to    **namespace
		label string
	}{{&t.client, "client"}, {&t.router, "router"}, {&t.server, "server"}} {
		if *n.to, err = newNamespace(n.label); err != nil {
			return nil, err
		}
		if err = (*n.to).do(quiet); err != nil {
			return nil, err
		}
	}
	t.c0 = t.end(t.client, "c0", packet.MAC{2, 0, 0, 0, 1, 2}, "10.0.1.2/24", "2001:db8:1::2/64")
	t.r0 = t.end(t.router, "r0", packet.MAC{2, 0, 0, 0, 1, 1}, "10.0.1.1/24", "2001:db8:1::1/64")
	t.r1 = t.end(t.router, "r1", packet.MAC{2, 0, 0, 0, 2, 1}, "198.51.100.1/24", "2001:db8:2::1/64")
	t.s0 = t.end(t.server, "s0", packet.MAC{2, 0, 0, 0, 2, 2}, "198.51.100.2/24", "2001:db8:2::2/64")
	if err = join(&t.c0, &t.r0); err != nil {
		return nil, err
	}
	if err = join(&t.r1, &t.s0); err != nil {
		return nil, err
	}
	for _, p := range [][2]device{{t.c0, t.r0}, {t.s0, t.r1}} {
		if err = plug(p[0], p[1], e); err != nil {
			return nil, err
		}
	}
	return t, t.router.do(forwarding)
}

func (*topology) end(ns *namespace, name string, mac packet.MAC, a4, a6 string) device {
	return device{ns: ns, name: name, mac: mac, addr4: netip.MustParsePrefix(a4), addr6: netip.MustParsePrefix(a6)}
}

// quiet undoes what a namespace copies from the machine, and keeps its hosts from speaking unasked.
func quiet() error {
	set := map[string]string{"net/ipv4/ip_forward": "0"}
	for _, conf := range []string{"all", "default"} {
		set["net/ipv4/conf/"+conf+"/rp_filter"] = "0"
	}
	for _, name := range []string{"accept_dad", "dad_transmits", "accept_ra", "autoconf", "router_solicitations"} {
		set["net/ipv6/conf/default/"+name] = "0"
	}
	for name, value := range set {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

func forwarding() error {
	return errors.Join(sysctl("net/ipv4/ip_forward", "1"), sysctl("net/ipv6/conf/all/forwarding", "1"))
}

// join makes the veth pair of a and b and fills in their ifindexes.
func join(a, b *device) error {
	err := a.ns.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = a.name, a.mac.HardwareAddr()
		v := netlink.NewVeth(attrs)
		v.PeerName, v.PeerHardwareAddr = b.name, b.mac.HardwareAddr()
		v.PeerNamespace = netlink.NsFd(int(b.ns.handle))
		return netlink.LinkAdd(v)
	})
	if err != nil {
		return fmt.Errorf("make pair %s and %s: %w", a.name, b.name, err)
	}
	return errors.Join(a.up(), b.up())
}

func (d *device) up() error {
	return d.ns.do(func() error {
		l, err := netlink.LinkByName(d.name)
		if err != nil {
			return fmt.Errorf("find %s: %w", d.name, err)
		}
		d.index = l.Attrs().Index
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", d.name, err)
		}
		// A veth takes frames that XDP redirects to its peer only with NAPI, which it has with GRO.
		h, err := link.Open()
		if err != nil {
			return err
		}
		return errors.Join(h.SetFeature(d.name, link.GRO, true), h.Close())
	})
}

// plug gives a host and its gateway addresses, routes and each other as neighbours.
func plug(host, gateway device, e ends) error {
	if err := gateway.address(); err != nil {
		return err
	}
	if err := gateway.neighbour(host); err != nil {
		return err
	}
	if e == silent {
		return nil
	}
	if err := host.address(); err != nil {
		return err
	}
	if err := host.neighbour(gateway); err != nil {
		return err
	}
	return host.ns.do(func() error {
		for _, six := range []bool{false, true} {
			r := &netlink.Route{LinkIndex: host.index, Gw: gateway.addr(six).AsSlice()}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("add default route of %s: %w", host.ns.label, err)
			}
		}
		return nil
	})
}

func (d device) address() error {
	return d.ns.do(func() error {
		l, err := netlink.LinkByIndex(d.index)
		if err != nil {
			return fmt.Errorf("find %s: %w", d.name, err)
		}
		for _, p := range []netip.Prefix{d.addr4, d.addr6} {
			n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n}); err != nil {
				return fmt.Errorf("add address %s to %s: %w", p, d.name, err)
			}
		}
		return nil
	})
}

// neighbour enters other as a neighbour on d.
func (d device) neighbour(other device) error {
	return d.ns.do(func() error {
		for _, six := range []bool{false, true} {
			n := &netlink.Neigh{
				LinkIndex: d.index, State: netlink.NUD_PERMANENT, IP: other.addr(six).AsSlice(),
				HardwareAddr: other.mac.HardwareAddr(),
			}
			if err := netlink.NeighSet(n); err != nil {
				return fmt.Errorf("add neighbour %s to %s: %w", other.name, d.name, err)
			}
		}
		return nil
	})
}

// close gives the namespaces up; devices and rules go with them.
func (t *topology) close() error {
	var errs []error
	for _, n := range []*namespace{t.client, t.router, t.server} {
		if n != nil {
			errs = append(errs, n.close())
		}
	}
	return errors.Join(errs...)
}
