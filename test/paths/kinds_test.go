//go:build guest

package paths

import (
	"fmt"
	"net/netip"
	"strings"
)

// kind is how a site's devices are built.
type kind func(s *site)

// kinds are all sites of the world.
func kinds() map[string]kind {
	return map[string]kind{
		"lan":    plain,
		"wan":    plain,
		"vlan":   vlan,
		"vlan2":  listedByTop(vlan),
		"qinq":   qinq,
		"sw":     bridge,
		"vsw":    listedByTop(filteringBridge),
		"bond":   bond("active-backup primary %s0 miimon 20"),
		"xor":    bond("balance-xor xmit_hash_policy layer3+4 miimon 20"),
		"ppp":    pppoe,
		"ipip":   ipip,
		"wg":     wireguard,
		"esp":    esp,
		"vrfa":   vrf,
		"vrfb":   vrf,
		"roam":   roaming,
		"multi":  twoUplinks,
		"jumbo":  jumbo,
		"narrow": narrow,
	}
}

// plain is a veth pair, as into a container. Other kinds stand on it, and flowtables go on listing its device.
func plain(s *site) {
	s.wire(s.name, s.newHost("eth0"), "eth0")
	s.top, s.listed = s.name, []string{s.name}
}

// vlan is 802.1Q on a wire.
func vlan(s *site) {
	plain(s)
	s.tag("10", "802.1Q")
}

// qinq is 802.1Q in 802.1ad.
func qinq(s *site) {
	plain(s)
	s.tag("100", "802.1ad")
	s.tag("10", "802.1Q")
}

// tag puts a VLAN device on the top of the site, at both ends.
func (s *site) tag(id, protocol string) {
	add := func(dev string) string {
		return fmt.Sprintf("link add link %s name %s.%s type vlan protocol %s id %s\nlink set %s.%s up", dev, dev, id, protocol, id, dev, id)
	}
	s.w.router.IP(add(s.top))
	s.top += "." + id
	for _, h := range s.hosts {
		h.ns.IP(add(h.dev))
		h.dev += "." + id
	}
}

// bridge has two ports, a host on each.
func bridge(s *site) { s.bridge("") }

func (s *site) bridge(options string) {
	s.top = s.name
	s.w.router.IP(fmt.Sprintf("link add name %s type bridge forward_delay 0 stp_state 0 mcast_snooping 0 %s\nlink set %s up", s.top, options, s.top))
	for i := range 2 {
		port := fmt.Sprintf("%s%d", s.name, i)
		s.wire(port, s.newHost("eth0"), "eth0")
		s.w.router.IP(fmt.Sprintf("link set %s master %s", port, s.top))
		s.listed = append(s.listed, port)
	}
}

// filteringBridge has VLAN 10, untagged for the first host and tagged for the second.
func filteringBridge(s *site) {
	s.bridge("vlan_filtering 1 vlan_default_pvid 0")
	lines := fmt.Sprintf("vlan add dev %s0 vid 10 pvid untagged\nvlan add dev %s1 vid 10\nvlan add dev %s vid 10 self\n", s.name, s.name, s.name)
	if _, err := s.w.router.Pipe(lines, "bridge", "-batch", "-"); err != nil {
		s.w.t.Fatal(err)
	}
	const add = "link add link %s name %s.10 type vlan id 10\nlink set %s.10 up"
	s.w.router.IP(strings.ReplaceAll(add, "%s", s.top))
	s.top += ".10"
	tagged := s.hosts[1]
	tagged.ns.IP(strings.ReplaceAll(add, "%s", tagged.dev))
	tagged.dev += ".10"
}

// bond is two wires as one, at both ends.
func bond(mode string) kind {
	return func(s *site) {
		h := s.newHost("bond0")
		for i := range 2 {
			s.wire(fmt.Sprintf("%s%d", s.name, i), h, fmt.Sprintf("eth%d", i))
		}
		lines := func(bond, member string) string {
			options := strings.ReplaceAll(mode, "%s", member)
			b := fmt.Sprintf("link add name %s type bond mode %s\n", bond, strings.ReplaceAll(options, "primary "+member+"0 ", ""))
			for i := range 2 {
				b += fmt.Sprintf("link set %s%d down\nlink set %s%d master %s\n", member, i, member, i, bond)
			}
			if strings.Contains(options, "primary") { // of its members only
				b += fmt.Sprintf("link set %s type bond primary %s0\n", bond, member)
			}
			return b + fmt.Sprintf("link set %s up", bond)
		}
		s.w.router.IP(lines(s.name, s.name))
		h.ns.IP(lines(h.dev, "eth"))
		s.top, s.listed = s.name, []string{s.name}
	}
}

// vrf puts the site's wire into the VRF that all such sites share.
func vrf(s *site) {
	plain(s)
	if _, err := s.w.router.Ifindex("red"); err != nil {
		s.w.router.IP("link add name red type vrf table 100\nlink set red up")
	}
	s.w.router.IP(fmt.Sprintf("link set %s master red", s.name))
}

// listedByTop is a site whose flowtable lists the device that has the address: the bridge or the VLAN itself.
func listedByTop(k kind) kind {
	return func(s *site) {
		k(s)
		s.listed = []string{s.top}
	}
}

// roaming is a bridge with one host that may be at either port, as a station is at either of two access points. Nothing
// but its packets says where.
func roaming(s *site) {
	s.top = s.name
	s.w.router.IP(fmt.Sprintf("link add name %s type bridge forward_delay 0 stp_state 0 mcast_snooping 0\nlink set %s up", s.top, s.top))
	h := s.newHost("station")
	h.ns.IP("link add name station type bond mode active-backup")
	for i := range 2 {
		port := fmt.Sprintf("%s%d", s.name, i)
		s.wire(port, h, fmt.Sprintf("eth%d", i))
		s.w.router.IP(fmt.Sprintf("link set %s master %s", port, s.top))
		h.ns.IP(fmt.Sprintf("link set eth%d down\nlink set eth%d master station\nlink set eth%d up", i, i, i))
		s.listed = append(s.listed, port)
	}
	h.ns.IP("link set station up\nlink set station type bond active_slave eth0")
}

// moves makes the host of a roaming site go to a port.
func (h *host) moves(port int) {
	h.ns.IP(fmt.Sprintf("link set station type bond active_slave eth%d", port))
}

// twoUplinks is a host that the router reaches by two wires, with addresses of its own behind both: policy routing
// chooses. Table 101 has the first wire, table 102 the second.
func twoUplinks(s *site) {
	plain(s)
	h := s.hosts[0]
	s.wire(s.name+"2", h, "eth1")
	s.listed = append(s.listed, s.name+"2")
	second := &site{w: s.w, number: s.number + 100}
	s.routes = func() {
		for _, six := range []bool{false, true} {
			own := behindUplinks(six)
			h.ns.IP(fmt.Sprintf("address add %s dev eth1%s\naddress add %s dev lo%s", second.prefix(2, six), nodad(six), own, nodad(six)))
			s.w.router.IP(fmt.Sprintf("address add %s dev %s2%s\nroute add %s via %s dev %s table 101\nroute add %s via %s dev %s2 table 102",
				second.prefix(gateway, six), s.name, nodad(six), own, h.addr(six), s.name, own, second.prefix(2, six).Addr(), s.name))
		}
	}
}

// behindUplinks is the host's own address.
func behindUplinks(six bool) netip.Addr {
	if six {
		return netip.MustParseAddr("2001:db8:ffff::1")
	}
	return netip.MustParseAddr("198.18.0.1")
}

func nodad(six bool) string {
	if six {
		return " nodad"
	}
	return ""
}
