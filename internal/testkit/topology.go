package testkit

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// RouterOptions says how NewRouter builds its topology. The zero value is what a plain container host has:
// GRO off, transmit checksum offload and TSO on, neighbours resolved by ARP and ND.
type RouterOptions struct {
	// XDP makes c0 and s0 able to receive frames that XDP redirects to r0 and r1: it turns GRO on there, which
	// gives the veth peers NAPI. Without it ndo_xdp_xmit drops such frames silently (drivers/net/veth.c).
	XDP bool
	// NoChecksumOffload turns transmit checksum offload (and with it TSO) off at c0 and s0, so that every frame
	// carries its final checksum, as frames from a wire do.
	NoChecksumOffload bool
	// PermanentNeighbours enters every neighbour by hand: no ARP or ND packet is ever needed.
	PermanentNeighbours bool
	// RawEnds leaves c0 and s0 without addresses, so that the ends' kernels answer nothing (no RST, no ICMP) and
	// a test plays both hosts with Ports. Implies PermanentNeighbours.
	RawEnds bool
}

// Dev is one end of a veth pair of a topology.
type Dev struct {
	NS     *NS
	Name   string
	Index  int          // ifindex inside NS
	MAC    packet.MAC   // fixed, the same in every run
	IP4Net netip.Prefix // address and network
	IP6Net netip.Prefix
}

// Addr returns the device's IPv4 or, with six, its IPv6 address; with RawEnds, the one that the test plays.
func (d Dev) Addr(six bool) netip.Addr {
	if six {
		return d.IP6Net.Addr()
	}
	return d.IP4Net.Addr()
}

// Router is a client, a router and a server in namespaces of their own:
//
//	client c0 ── r0 router r1 ── s0 server
//	10.0.1.2/24  10.0.1.1/24   198.51.100.1/24  198.51.100.2/24
//	2001:db8:1::2/64  ::1      2001:db8:2::1/64 ::2
//
// The client and the server have default routes through the router, which forwards both families and has no
// nftables ruleset. DAD and router solicitations are off, so addresses work at once and no host speaks unasked
// (multicast listener reports apart). rp_filter is 0 everywhere; a test about it sets it on r0 and r1.
type Router struct {
	Client, Router, Server *NS
	C0, R0, R1, S0         Dev
}

// NewRouter builds the topology; it goes away with the test.
func NewRouter(t testing.TB, o RouterOptions) *Router {
	t.Helper()
	Need(t, Netns, Tc)
	r := &Router{Client: NewNS(t, "client"), Router: NewNS(t, "router"), Server: NewNS(t, "server")}
	r.C0 = end(r.Client, "c0", packet.MAC{2, 0, 0, 0, 1, 2}, "10.0.1.2/24", "2001:db8:1::2/64")
	r.R0 = end(r.Router, "r0", packet.MAC{2, 0, 0, 0, 1, 1}, "10.0.1.1/24", "2001:db8:1::1/64")
	r.R1 = end(r.Router, "r1", packet.MAC{2, 0, 0, 0, 2, 1}, "198.51.100.1/24", "2001:db8:2::1/64")
	r.S0 = end(r.Server, "s0", packet.MAC{2, 0, 0, 0, 2, 2}, "198.51.100.2/24", "2001:db8:2::2/64")
	for _, ns := range []*NS{r.Client, r.Router, r.Server} {
		ns.plainIPv4()
		ns.quietIPv6()
	}
	r.Router.Sysctl("net/ipv4/ip_forward", "1")
	r.Router.Sysctl("net/ipv6/conf/all/forwarding", "1")
	Join(t, &r.C0, &r.R0)
	Join(t, &r.R1, &r.S0)
	for _, d := range []Dev{r.C0, r.R0, r.R1, r.S0} {
		if o.RawEnds && d.NS != r.Router {
			continue
		}
		d.NS.ipBatch(fmt.Sprintf("address add %s dev %s\naddress add %s dev %s nodad", d.IP4Net, d.Name, d.IP6Net, d.Name))
	}
	if !o.RawEnds {
		defaultRoute(r.C0, r.R0)
		defaultRoute(r.S0, r.R1)
	}
	if o.PermanentNeighbours || o.RawEnds {
		neighbours(o, r.Router, r.C0, r.R0)
		neighbours(o, r.Router, r.S0, r.R1)
	}
	for _, d := range []Dev{r.C0, r.S0} {
		if o.XDP {
			d.NS.Run("ethtool", "-K", d.Name, "gro", "on")
		}
		if o.NoChecksumOffload {
			d.NS.Run("ethtool", "-K", d.Name, "tx", "off")
		}
	}
	return r
}

func end(ns *NS, name string, mac packet.MAC, ip4, ip6 string) Dev {
	return Dev{NS: ns, Name: name, MAC: mac, IP4Net: netip.MustParsePrefix(ip4), IP6Net: netip.MustParsePrefix(ip6)}
}

// Join makes a veth pair with the names and MACs given, in the namespaces given, brings it up and fills in the
// ifindexes. Addresses are the caller's.
func Join(t testing.TB, a, b *Dev) {
	t.Helper()
	a.NS.ipBatch(fmt.Sprintf("link add %s address %s type veth peer name %s address %s netns %s\nlink set %s up",
		a.Name, a.MAC, b.Name, b.MAC, b.NS.Name, a.Name))
	b.NS.ipBatch(fmt.Sprintf("link set %s up", b.Name))
	for _, d := range []*Dev{a, b} {
		i, err := d.NS.Ifindex(d.Name)
		if err != nil {
			t.Fatal(err)
		}
		d.Index = i
	}
}

// Ifindex returns the index of a device of the namespace.
func (n *NS) Ifindex(dev string) (int, error) {
	var index int
	err := n.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return fmt.Errorf("find device %s in %s: %w", dev, n.Name, err)
		}
		index = i.Index
		return nil
	})
	return index, err
}

// plainIPv4 undoes what a new namespace copies from the machine (devinet_init_net of net/ipv4/devinet.c): filters and
// forwarding. Devices created later take the default.
func (n *NS) plainIPv4() {
	n.t.Helper()
	n.Sysctl("net/ipv4/ip_forward", "0")
	for _, conf := range []string{"all", "default"} {
		n.Sysctl("net/ipv4/conf/"+conf+"/rp_filter", "0")
	}
}

// quietIPv6 makes devices created later come up without DAD or solicitations. They keep their link-local address:
// a router that resolves a neighbour for a packet of somebody else has no other source (net/ipv6/ndisc.c).
func (n *NS) quietIPv6() {
	n.t.Helper()
	for name, value := range map[string]string{
		"accept_dad": "0", "dad_transmits": "0", "accept_ra": "0", "autoconf": "0", "router_solicitations": "0",
	} {
		n.Sysctl("net/ipv6/conf/default/"+name, value)
	}
}

// ipBatch runs ip(8) commands, one a line without the leading "ip".
func (n *NS) ipBatch(lines string) {
	n.t.Helper()
	if _, err := n.Pipe(lines+"\n", "ip", "-batch", "-"); err != nil {
		n.t.Fatalf("%v (batch: %s)", err, strings.ReplaceAll(lines, "\n", "; "))
	}
}

func defaultRoute(host, gateway Dev) {
	host.NS.ipBatch(fmt.Sprintf("route add default via %s\nroute add ::/0 via %s", gateway.Addr(false), gateway.Addr(true)))
}

func neighbours(o RouterOptions, router *NS, host, gateway Dev) {
	for _, six := range []bool{false, true} {
		router.ipBatch(fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", host.Addr(six), host.MAC, gateway.Name))
		if !o.RawEnds {
			host.NS.ipBatch(fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", gateway.Addr(six), gateway.MAC, host.Name))
		}
	}
}
