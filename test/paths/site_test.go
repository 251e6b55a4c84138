//go:build guest

// Package paths drives real connections along every path that a router may have, under kernels that have them all: one
// router with many networks, the real program on it, sockets at the ends.
package paths

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// site is one network behind the router: its hosts, and the devices between them and the router.
type site struct {
	w      *world
	name   string
	number int      // networks 10.NUMBER.0.0/24 and 2001:db8:NUMBER::/64
	top    string   // the router's device that has the address
	listed []string // what flowtables list of it
	kernel []string // and the kernel's own one, where that must be another device
	only4  bool     // the path carries no IPv6
	ppp    bool     // PPP gives the addresses
	hosts  []*host
	behind *testkit.NS // a server behind the site's host; see narrow
	routes func()      // adds what needs the addresses first
}

// host is a machine of a site.
type host struct {
	site *site
	ns   *testkit.NS
	dev  string // that has the address
	last int    // byte of the address
}

func (s *site) prefix(last int, six bool) netip.Prefix {
	if six {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::%x/64", s.number, last))
	}
	return netip.MustParsePrefix(fmt.Sprintf("10.%d.0.%d/24", s.number, last))
}

const gateway = 1 // last byte of the router's address in every site

func (h *host) addr(six bool) netip.Addr { return h.site.prefix(h.last, six).Addr() }

// newHost makes a machine of the site; its device is the builder's to make.
func (s *site) newHost(dev string) *host {
	h := &host{site: s, dev: dev, last: gateway + 1 + len(s.hosts)}
	h.ns = testkit.NewHost(s.w.t, fmt.Sprintf("%s%d", s.name, len(s.hosts)))
	s.hosts = append(s.hosts, h)
	return h
}

// wire joins the router to a host by a veth pair, both ends up.
func (s *site) wire(routerDev string, h *host, hostDev string) {
	s.w.router.IP(fmt.Sprintf("link add name %s type veth peer name %s netns %s\nlink set %s up", routerDev, hostDev, h.ns.Name, routerDev))
	h.ns.IP(fmt.Sprintf("link set %s up", hostDev))
}

// address gives router and hosts what they need to talk.
func (s *site) address() {
	if s.ppp {
		return
	}
	if s.routes != nil {
		defer s.routes()
	}
	families := []bool{false, true}
	if s.only4 {
		families = families[:1]
	}
	lines := func(dev string, last int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "link set %s up\n", dev)
		for _, six := range families {
			fmt.Fprintf(&b, "address add %s dev %s%s\n", s.prefix(last, six), dev, nodad(six))
		}
		return b.String()
	}
	s.w.router.IP(lines(s.top, gateway))
	for _, h := range s.hosts {
		b := lines(h.dev, h.last)
		for _, six := range families {
			b += fmt.Sprintf("route add default via %s dev %s\n", s.prefix(gateway, six).Addr(), h.dev)
		}
		h.ns.IP(b)
	}
}
